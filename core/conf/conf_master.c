/*
 * master.cf as text -> services: columns, and the words after the command, each with its line. Called by conf_parse.c;
 * what a service means here is decided by conf_services.c. The syntax is master(5)'s; white space inside braces does
 * not separate words, and a word that begins with a brace stands for what is inside.
 */
#include "core/conf/conf_int.h"

#include "core/base/alloc.h"
#include "core/base/assert.h"

#define BLANKS " \t\r\n\v\f"

struct parser {
    struct conf_source *source;
    struct conf_report *report;
    const struct conf_logical *logical;
    const char *text;  /* the logical line in the source's arena */
    struct slice rest; /* of `text` */
};

#define ERROR_AT(p, line, ...) conf_report_add((p)->report, CONF_SEVERITY_ERROR, (p)->source->master, line, __VA_ARGS__)

static int line_of(const struct parser *p, const char *at)
{
    return conf_lines_number(p->logical, (size_t)(at - p->text));
}

/* ---- words ---- */

/* How far the brackets that open in the word lead: the level at its end is in *level. */
static struct slice take_word(struct slice *rest, int *level)
{
    size_t start = 0, n;

    while (start < rest->n && ascii_space(rest->p[start]))
        start++;
    *level = 0;
    for (n = start; n < rest->n && (*level > 0 || !ascii_space(rest->p[n])); n++)
        *level += rest->p[n] == '{' ? 1 : rest->p[n] == '}' && *level > 0 ? -1 : 0;
    *rest = slice_make(rest->p + n, rest->n - n);
    return slice_make(rest->p - (n - start), n - start);
}

/* Where the brace that opens the word is closed. */
static size_t closing(struct slice word)
{
    int level = 0;

    for (size_t i = 0; i < word.n; i++) {
        level += (word.p[i] == '{') - (word.p[i] == '}');
        if (level == 0)
            return i;
    }
    return SLICE_NOT_FOUND;
}

/* The next word after the command; false when there is none, or it is wrong. */
static bool take_argument(struct parser *p, struct conf_argument *arg, bool *ok)
{
    int level;
    struct slice word = take_word(&p->rest, &level);

    if (word.n == 0)
        return false;
    *arg = (struct conf_argument){.rest = word.p, .line = line_of(p, word.p)};
    if (level > 0)
        ERROR_AT(p, arg->line, "a } is missing after \"%.*s\"", (int)(word.n < 60 ? word.n : 60), word.p);
    else if (word.p[0] == '{' && closing(word) != word.n - 1)
        ERROR_AT(p, arg->line, "text after the } of \"%.*s\"", (int)word.n, word.p);
    else {
        if (word.p[0] == '{')
            word = slice_trim(slice_make(word.p + 1, word.n - 2));
        arg->text = arena_slice_dup(&p->source->arena, word);
        return true;
    }
    *ok = false;
    return false;
}

static bool take_arguments(struct parser *p, struct conf_service *s)
{
    struct conf_argument *all = NULL, arg;
    size_t cap = 0;
    bool ok = true;

    while (take_argument(p, &arg, &ok)) {
        if (s->nargs == cap) {
            struct conf_argument *more = arena_new_array(&p->source->arena, cap * 2 + 8, sizeof *more);

            if (all != NULL)
                memcpy(more, all, s->nargs * sizeof *more);
            cap = cap * 2 + 8;
            all = more;
        }
        all[s->nargs++] = arg;
    }
    s->args = all;
    return ok;
}

/* ---- columns ---- */

enum column {
    COLUMN_NAME,
    COLUMN_TYPE,
    COLUMN_PRIVATE,
    COLUMN_UNPRIV,
    COLUMN_CHROOT,
    COLUMN_WAKEUP,
    COLUMN_MAXPROC,
    COLUMN_COMMAND,
    COLUMN_COUNT,
};

static const char *const column_names[] = {"name",   "type",   "private", "unpriv",
                                           "chroot", "wakeup", "maxproc", "command"};
static const char *const types[] = {"inet", "unix", "unix-dgram", "fifo", "pass"};

static bool type_known(const char *type)
{
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (strcmp(type, types[i]) == 0)
            return true;
    return false;
}

static bool check_type(const struct parser *p, const char *type)
{
    struct conf_near near = {.name = type};

    if (type_known(type))
        return true;
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        conf_near_try(&near, types[i]);
    if (near.best != NULL)
        ERROR_AT(p, p->logical->number, "\"%s\" is no type of a service; did you mean %s?", type, near.best);
    else
        ERROR_AT(p, p->logical->number, "\"%s\" is no type of a service: there are inet, unix, unix-dgram, fifo, pass",
                 type);
    return false;
}

/* y, n, or - for the default. */
static bool check_yes_no(const struct parser *p, enum column column, const char *text)
{
    if (text[0] != '\0' && text[1] == '\0' && strchr("yn-", text[0]) != NULL)
        return true;
    ERROR_AT(p, p->logical->number, "\"%s\" in the column %s is none of: y, n, -", text, column_names[column]);
    return false;
}

/* A number or -; behind a wake-up time there may be a question mark. */
static bool check_number(const struct parser *p, enum column column, const char *text)
{
    struct slice digits = slice_str(text);
    uint64_t number;

    if (column == COLUMN_WAKEUP && digits.n > 1 && digits.p[digits.n - 1] == '?')
        digits.n--;
    if (strcmp(text, "-") == 0 || slice_u64(digits, INT32_MAX, &number))
        return true;
    ERROR_AT(p, p->logical->number, "\"%s\" in the column %s is neither a number nor -", text, column_names[column]);
    return false;
}

static bool check_columns(const struct parser *p, const char *const *text)
{
    bool ok = check_type(p, text[COLUMN_TYPE]);

    for (enum column c = COLUMN_PRIVATE; c <= COLUMN_CHROOT; c++)
        ok = check_yes_no(p, c, text[c]) && ok;
    for (enum column c = COLUMN_WAKEUP; c <= COLUMN_MAXPROC; c++)
        ok = check_number(p, c, text[c]) && ok;
    return ok;
}

static bool take_columns(struct parser *p, const char **text)
{
    for (size_t i = 0; i < COLUMN_COUNT; i++) {
        struct slice word = slice_token(&p->rest, BLANKS);

        if (word.n == 0) {
            ERROR_AT(p, p->logical->number,
                     "the column %s is missing: a service has name, type, private, unpriv, chroot, wakeup, maxproc, "
                     "command",
                     column_names[i]);
            return false;
        }
        text[i] = arena_slice_dup(&p->source->arena, word);
    }
    return true;
}

/* ---- services ---- */

static const struct conf_service *find(const struct conf_source *s, const char *name, const char *type)
{
    for (size_t i = 0; i < s->nservices; i++)
        if (strcmp(s->services[i].name, name) == 0 && strcmp(s->services[i].type, type) == 0)
            return &s->services[i];
    return NULL;
}

static void add(struct conf_source *s, const struct conf_service *service)
{
    if (s->nservices == s->services_cap) {
        s->services_cap = s->services_cap == 0 ? 64 : s->services_cap * 2;
        s->services = mem_resize(s->services, s->services_cap * sizeof *s->services);
    }
    s->services[s->nservices++] = *service;
}

static void logical_line(void *ctx, const struct conf_logical *logical)
{
    struct parser *p = ctx;
    const char *text[COLUMN_COUNT];
    const struct conf_service *first;
    struct conf_service service;

    p->logical = logical;
    p->text = arena_slice_dup(&p->source->arena, buf_slice(&logical->text));
    p->rest = slice_str(p->text);
    if (!take_columns(p, text) || !check_columns(p, text))
        return;
    first = find(p->source, text[COLUMN_NAME], text[COLUMN_TYPE]);
    if (first != NULL) {
        ERROR_AT(p, logical->number, "the service %s %s is there already in line %d", first->name, first->type,
                 first->line);
        return;
    }
    service = (struct conf_service){.name = text[COLUMN_NAME],
                                    .type = text[COLUMN_TYPE],
                                    .command = text[COLUMN_COMMAND],
                                    .maxproc = text[COLUMN_MAXPROC][0] != '-' ? text[COLUMN_MAXPROC] : NULL,
                                    .chroot = text[COLUMN_CHROOT][0] == 'y',
                                    .line = logical->number};
    if (take_arguments(p, &service))
        add(p->source, &service);
}

void conf_master_parse(struct conf_source *source, struct slice text, struct conf_report *report)
{
    struct parser p = {.source = source, .report = report};

    conf_lines_each(text, source->master, report, logical_line, &p);
}
