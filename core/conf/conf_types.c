/*
 * The rows of params*.def as data, and for each type how its text becomes a field, with range check. Called by conf.c
 * and conf_transport.c for every parameter; owns nothing.
 */
#include "core/conf/conf_int.h"

#include "core/base/assert.h"

#include <stdarg.h>

/* ---- the word sets ---- */

/* clang-format off */
#define CONF_WORD(SET, id, text)  {text, CONF_##SET##_##id},
#define CONF_ALIAS(SET, id, text) {text, CONF_##SET##_##id},
#define CONF_SET_BEGIN(set)       const struct conf_word conf_words_##set[] = {
#define CONF_SET_END(set)         {NULL, 0}};
/* clang-format on */
#include "core/conf/words.def"
#undef CONF_SET_BEGIN
#undef CONF_WORD
#undef CONF_ALIAS
#undef CONF_SET_END

/* ---- the rows ---- */

#define COMPUTED        NULL
#define ANY             NULL, NULL, NULL
#define RANGE(min, max) min, max, NULL
#define WORDS(set)      NULL, NULL, conf_words_##set

#define OFFSET_BOOL(T, name)     offsetof(T, name)
#define OFFSET_INT(T, name)      offsetof(T, name)
#define OFFSET_SIZE(T, name)     offsetof(T, name)
#define OFFSET_STR(T, name)      offsetof(T, name)
#define OFFSET_ENUM(T, name)     offsetof(T, name)
#define OFFSET_DURATION(T, name) offsetof(T, name##_ms)

const struct conf_row conf_rows[] = {
#define PARAM_NAMED(field, name, TYPE, def, range, apply, doc)                                                         \
    {#name, def, range, doc, OFFSET_##TYPE(struct conf, field), CONF_TYPE_##TYPE, CONF_APPLY_##apply, 0, false},
#define PARAM(name, TYPE, def, range, apply, doc)                                                                      \
    {#name, def, range, doc, OFFSET_##TYPE(struct conf, name), CONF_TYPE_##TYPE, CONF_APPLY_##apply, 0, false},
#include "core/conf/params.def"
#undef PARAM
#undef PARAM_NAMED
};
const size_t conf_nrows = ARRAY_LEN(conf_rows);

#define TYPE_PIPE (1u << CONF_TRANSPORT_TYPE_PIPE)
#define ALL_TYPES (~0u)
#define EXPANDED  false
#define VERBATIM  true

const struct conf_row conf_transport_rows[] = {
#define TRANSPORT_PARAM(types, name, TYPE, def, range, verbatim, doc)                                                  \
    {#name, def,     range, doc, OFFSET_##TYPE(struct conf_transport, name), CONF_TYPE_##TYPE, CONF_APPLY_RELOAD,      \
     types, verbatim},
#include "core/conf/params_transport.def"
#undef TRANSPORT_PARAM
};
const size_t conf_ntransport_rows = ARRAY_LEN(conf_transport_rows);

const struct conf_row conf_dynamic_rows[] = {
#define DYNAMIC_PARAM(name, TYPE, def, range, doc)                                                                     \
    {#name, def, range, doc, OFFSET_##TYPE(struct conf_transport, name), CONF_TYPE_##TYPE, CONF_APPLY_RELOAD, 0, false},
#include "core/conf/params_dynamic.def"
#undef DYNAMIC_PARAM
};
const size_t conf_ndynamic_rows = ARRAY_LEN(conf_dynamic_rows);

static const struct conf_row *row_find(const struct conf_row *rows, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(rows[i].name, name) == 0)
            return &rows[i];
    return NULL;
}

const struct conf_row *conf_row_find(const char *name)
{
    return row_find(conf_rows, conf_nrows, name);
}

const struct conf_row *conf_transport_row_find(const char *name)
{
    return row_find(conf_transport_rows, conf_ntransport_rows, name);
}

/* ---- text -> value, one function a type ---- */

/* A parsed value before it is put into its field. */
struct value {
    int64_t number;
    const char *text;
};

struct type {
    /* false, and what is wrong in `why` */
    bool (*parse)(const struct conf_row *, const char *text, struct value *, char *why, size_t why_size);
    void (*store)(void *field, const struct value *, struct arena *);
};

static bool wrong(char *why, size_t why_size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static bool wrong(char *why, size_t why_size, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(why, why_size, fmt, ap);
    va_end(ap);
    return false;
}

static bool parse_bool(const struct conf_row *row, const char *text, struct value *v, char *why, size_t why_size)
{
    struct slice s = slice_str(text);

    (void)row;
    v->number = slice_ieq(s, SLICE_LIT("yes"));
    if (v->number == 0 && !slice_ieq(s, SLICE_LIT("no")))
        return wrong(why, why_size, "\"%.100s\" is neither yes nor no", text);
    return true;
}

static bool parse_int(const struct conf_row *row, const char *text, struct value *v, char *why, size_t why_size)
{
    uint64_t number;

    (void)row;
    if (!slice_u64(slice_str(text), INT64_MAX, &number))
        return wrong(why, why_size, "\"%.100s\" is not a number", text);
    v->number = (int64_t)number;
    return true;
}

static uint64_t unit_ms(char unit)
{
    switch (unit) {
    case 's': return 1000;
    case 'm': return 60 * 1000;
    case 'h': return 3600 * 1000;
    case 'd': return 86400 * 1000;
    case 'w': return 7 * 86400 * 1000;
    default: return 0;
    }
}

/* A number without a unit has the unit of the row's default; seconds when that has none to see. */
static uint64_t default_unit_ms(const struct conf_row *row)
{
    uint64_t unit = unit_ms(row->def[0] == '\0' ? 's' : row->def[strlen(row->def) - 1]);

    return unit == 0 ? 1000 : unit;
}

static bool parse_duration(const struct conf_row *row, const char *text, struct value *v, char *why, size_t why_size)
{
    struct slice s = slice_str(text);
    uint64_t number, unit = default_unit_ms(row);

    if (s.n > 0 && unit_ms(ascii_lower(s.p[s.n - 1])) != 0) {
        unit = unit_ms(ascii_lower(s.p[s.n - 1]));
        s.n--;
    }
    if (!slice_u64(s, INT64_MAX / unit_ms('w'), &number))
        return wrong(why, why_size, "\"%.100s\" is not a time: a number and one of s, m, h, d, w", text);
    v->number = (int64_t)(number * unit);
    return true;
}

static bool parse_str(const struct conf_row *row, const char *text, struct value *v, char *why, size_t why_size)
{
    (void)row, (void)why, (void)why_size;
    v->text = text;
    return true;
}

/* Words that mean the same as the one before them are other spellings of it and not listed. */
void conf_words_list(const struct conf_word *words, char *out, size_t out_size)
{
    size_t at = 0;
    int last = -1;

    out[0] = '\0';
    for (; words->text != NULL && at < out_size; words++)
        if (words->value > last) {
            at += (size_t)snprintf(out + at, out_size - at, "%s%s", at > 0 ? ", " : "", words->text);
            last = words->value;
        }
}

static bool parse_enum(const struct conf_row *row, const char *text, struct value *v, char *why, size_t why_size)
{
    char list[300];

    for (const struct conf_word *w = row->words; w->text != NULL; w++)
        if (slice_ieq(slice_str(w->text), slice_str(text))) {
            v->number = w->value;
            return true;
        }
    conf_words_list(row->words, list, sizeof list);
    return wrong(why, why_size, "\"%.100s\" is none of: %s", text, list);
}

static void store_bool(void *field, const struct value *v, struct arena *a)
{
    (void)a;
    *(bool *)field = v->number != 0;
}

static void store_int(void *field, const struct value *v, struct arena *a)
{
    (void)a;
    *(int64_t *)field = v->number;
}

static void store_duration(void *field, const struct value *v, struct arena *a)
{
    (void)a;
    *(uint64_t *)field = (uint64_t)v->number;
}

static void store_str(void *field, const struct value *v, struct arena *a)
{
    *(const char **)field = arena_strdup(a, v->text);
}

static void store_enum(void *field, const struct value *v, struct arena *a)
{
    (void)a;
    *(int *)field = (int)v->number;
}

static const struct type types[] = {
    [CONF_TYPE_BOOL] = {parse_bool, store_bool}, [CONF_TYPE_INT] = {parse_int, store_int},
    [CONF_TYPE_SIZE] = {parse_int, store_int},   [CONF_TYPE_DURATION] = {parse_duration, store_duration},
    [CONF_TYPE_STR] = {parse_str, store_str},    [CONF_TYPE_ENUM] = {parse_enum, store_enum},
};

static bool in_range(const struct conf_row *row, const char *text, const struct value *v, char *why, size_t why_size)
{
    struct value min, max;
    const struct type *type = &types[row->type];

    if (row->min == NULL)
        return true;
    MTA_ASSERT(type->parse(row, row->min, &min, why, why_size) && type->parse(row, row->max, &max, why, why_size));
    if (v->number < min.number || v->number > max.number)
        return wrong(why, why_size, "%.100s is out of range: at least %s, at most %s", text, row->min, row->max);
    return true;
}

bool conf_value_set(const struct conf_row *row, void *base, const char *text, struct arena *a, char *why,
                    size_t why_size)
{
    const struct type *type = &types[row->type];
    struct value v = {0, NULL};

    if (!type->parse(row, text, &v, why, why_size) || !in_range(row, text, &v, why, why_size))
        return false;
    type->store((char *)base + row->offset, &v, a);
    return true;
}
