/*
 * The file as text -> sections of assignments, each with its place. Called by conf_load and conf_show; everything it
 * makes is owned by the struct conf_source.
 *
 * The lines are main.cf's: one that begins with white space continues the logical line before it; blank lines and
 * lines whose first character besides white space is '#' are skipped and do not end a logical line; the last
 * definition of a name counts. `[listener NAME]` and `[transport NAME]` begin a section that lasts until the next.
 */
#include "core/conf/conf_int.h"

#include "core/base/alloc.h"
#include "core/base/assert.h"

#include <errno.h>

#define FILE_MOST  ((size_t)4 << 20)
#define BLANKS     " \t\r\n\v\f"
#define NO_SECTION SIZE_MAX /* the section line was wrong: what follows is read and dropped */

struct parser {
    struct conf_source *source;
    struct conf_report *report;
    size_t section; /* index of the current one, or NO_SECTION */
    struct buf logical;
    int line; /* where the logical line began; 0: there is none yet */
};

static void complain(const struct parser *p, enum conf_severity severity, int line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void complain(const struct parser *p, enum conf_severity severity, int line, const char *fmt, ...)
{
    struct buf text = {0};
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    conf_report_add(p->report, severity, p->source->path, line, "%s", buf_cstr(&text));
    buf_release(&text);
}

#define ERROR_AT(p, line, ...) complain(p, CONF_SEVERITY_ERROR, line, __VA_ARGS__)

/* ---- sections and assignments ---- */

static struct conf_section *section_add(struct conf_source *s, enum conf_section_kind kind, const char *name, int line)
{
    struct conf_section *added;

    if (s->nsections == s->cap) {
        s->cap = s->cap == 0 ? 8 : s->cap * 2;
        s->sections = mem_resize(s->sections, s->cap * sizeof *s->sections);
    }
    added = &s->sections[s->nsections++];
    *added = (struct conf_section){.kind = kind, .name = name, .file = s->path, .line = line};
    return added;
}

const struct conf_assignment *conf_section_get(const struct conf_section *section, const char *name)
{
    for (size_t i = 0; i < section->n; i++)
        if (strcmp(section->items[i].name, name) == 0)
            return &section->items[i];
    return NULL;
}

static void drop_item(struct conf_section *s, size_t i)
{
    memmove(s->items + i, s->items + i + 1, (s->n - i - 1) * sizeof *s->items);
    s->n--;
}

/* The last definition wins: an earlier one is dropped, with a warning where it stands. */
static void assign(const struct parser *p, struct conf_section *s, const struct conf_assignment *new)
{
    const struct conf_assignment *old = conf_section_get(s, new->name);

    if (old != NULL) {
        complain(p, CONF_SEVERITY_WARNING, old->line, "%s is set again in line %d, which is the one that counts",
                 old->name, new->line);
        drop_item(s, (size_t)(old - s->items));
    }
    if (s->n == s->cap) {
        s->cap = s->cap == 0 ? 32 : s->cap * 2;
        s->items = mem_resize(s->items, s->cap * sizeof *s->items);
    }
    s->items[s->n++] = *new;
}

/* ---- one logical line ---- */

static bool name_valid(struct slice name)
{
    for (size_t i = 0; i < name.n; i++)
        if (!ascii_alnum(name.p[i]) && strchr("_.-", name.p[i]) == NULL)
            return false;
    return name.n > 0;
}

static bool section_kind(struct slice word, enum conf_section_kind *kind)
{
    if (slice_eq(word, SLICE_LIT("listener")))
        *kind = CONF_SECTION_LISTENER;
    else if (slice_eq(word, SLICE_LIT("transport")))
        *kind = CONF_SECTION_TRANSPORT;
    else
        return false;
    return true;
}

static const struct conf_section *section_find(const struct conf_source *s, enum conf_section_kind kind,
                                               const char *name)
{
    for (size_t i = 0; i < s->nsections; i++)
        if (s->sections[i].kind == kind && s->sections[i].name != NULL && strcmp(s->sections[i].name, name) == 0)
            return &s->sections[i];
    return NULL;
}

static void begin_section(struct parser *p, enum conf_section_kind kind, struct slice kind_word, struct slice name)
{
    const char *copy = arena_slice_dup(&p->source->arena, name);
    const struct conf_section *first = section_find(p->source, kind, copy);

    if (first != NULL) {
        ERROR_AT(p, p->line, "[%.*s %s] is there already in line %d", (int)kind_word.n, kind_word.p, copy, first->line);
        return;
    }
    p->section = p->source->nsections;
    section_add(p->source, kind, copy, p->line);
}

static void section_line(struct parser *p, struct slice line)
{
    size_t end = slice_find(line, ']');
    struct slice inside, kind_word, name;
    enum conf_section_kind kind = CONF_SECTION_MAIN;

    p->section = NO_SECTION;
    if (end == SLICE_NOT_FOUND) {
        ERROR_AT(p, p->line, "the ] of the section is missing: \"%.*s\"", (int)line.n, line.p);
        return;
    }
    if (slice_trim(slice_from(line, end + 1)).n > 0)
        ERROR_AT(p, p->line,
                 "text after the ] of a section: a line that begins with white space continues the line before it");
    inside = slice_make(line.p + 1, end - 1);
    kind_word = slice_token(&inside, BLANKS);
    name = slice_trim(inside);
    if (!section_kind(kind_word, &kind))
        ERROR_AT(p, p->line, "[%.*s ...] is no section: there are [listener NAME] and [transport NAME]",
                 (int)kind_word.n, kind_word.p);
    else if (!name_valid(name))
        ERROR_AT(p, p->line, "\"%.*s\" is no name for a section: letters, digits, '_', '-' and '.'", (int)name.n,
                 name.p);
    else
        begin_section(p, kind, kind_word, name);
}

static void assignment_line(struct parser *p, struct slice line)
{
    struct arena *a = &p->source->arena;
    size_t equals = slice_find(line, '=');
    struct slice name = slice_trim(slice_head(line, equals == SLICE_NOT_FOUND ? line.n : equals));
    struct conf_assignment new = {.file = p->source->path, .line = p->line};

    if (equals == 0 || name.n == 0) {
        ERROR_AT(p, p->line, "the name before the = is missing: \"%.*s\"", (int)line.n, line.p);
        return;
    }
    for (size_t i = 0; i < name.n; i++)
        if (ascii_space(name.p[i]))
            equals = SLICE_NOT_FOUND;
    if (equals == SLICE_NOT_FOUND) {
        ERROR_AT(p, p->line, "the = after the name is missing: \"%.*s\"", (int)line.n, line.p);
        return;
    }
    new.name = arena_slice_dup(a, name);
    new.value = arena_slice_dup(a, slice_trim(slice_from(line, equals + 1)));
    if (p->section != NO_SECTION)
        assign(p, &p->source->sections[p->section], &new);
}

/* ---- physical lines ---- */

static void end_logical(struct parser *p)
{
    struct slice line = slice_trim(buf_slice(&p->logical));

    if (line.n > 0) {
        if (line.p[0] == '[')
            section_line(p, line);
        else
            assignment_line(p, line);
    }
    buf_clear(&p->logical);
}

static void physical_line(struct parser *p, struct slice line, int number)
{
    struct slice trimmed = slice_trim(line);

    if (trimmed.n == 0 || trimmed.p[0] == '#')
        return;
    if (!ascii_space(line.p[0])) {
        end_logical(p);
        p->line = number;
    } else if (p->line == 0) {
        ERROR_AT(p, number, "the first line must not begin with white space: it would continue the line before it");
        return;
    }
    buf_add_slice(&p->logical, slice_make(line.p, (size_t)(trimmed.p + trimmed.n - line.p)));
}

void conf_parse_text(struct slice text, const char *path, struct conf_source *source, struct conf_report *report)
{
    struct parser p = {.source = source, .report = report};
    int number = 0;

    source->path = arena_strdup(&source->arena, path);
    section_add(source, CONF_SECTION_MAIN, NULL, 0);
    while (text.n > 0) {
        size_t end = slice_find(text, '\n');
        struct slice line = slice_head(text, end);

        number++;
        text = slice_from(text, end == SLICE_NOT_FOUND ? text.n : end + 1);
        if (slice_find(line, '\0') != SLICE_NOT_FOUND)
            ERROR_AT(&p, number, "the line has a NUL byte");
        else
            physical_line(&p, line, number);
    }
    end_logical(&p);
    buf_release(&p.logical);
}

/* ---- the file ---- */

/* NULL, or why it could not be read. */
static const char *read_all(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "re");
    const char *why = NULL;
    size_t n = 1;
    char *to;

    if (f == NULL)
        return strerror(errno);
    while (n > 0 && (to = buf_reserve(out, 16384)) != NULL) {
        n = fread(to, 1, 16384, f);
        buf_commit(out, n);
    }
    if (ferror(f))
        why = errno == EISDIR ? "it is a directory: Postfix's own main.cf and master.cf cannot be read yet"
                              : strerror(errno);
    else if (!feof(f))
        why = "it is too large";
    fclose(f);
    return why;
}

bool conf_parse_file(const char *path, struct conf_source *source, struct conf_report *report)
{
    struct buf text = {.max = FILE_MOST};
    const char *why = read_all(path, &text);

    if (why != NULL)
        conf_report_add(report, CONF_SEVERITY_ERROR, path, 0, "the configuration cannot be read: %s", why);
    else
        conf_parse_text(buf_slice(&text), path, source, report);
    buf_release(&text);
    return why == NULL;
}

void conf_source_clear(struct conf_source *s)
{
    for (size_t i = 0; i < s->nsections; i++)
        mem_free(s->sections[i].items);
    mem_free(s->sections);
    arena_clear(&s->arena);
    *s = (struct conf_source){0};
}
