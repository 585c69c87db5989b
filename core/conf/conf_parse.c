/*
 * The file as text -> sections of assignments, each with its place. Called by conf_load, conf_show and conf_import;
 * everything it makes is owned by the struct conf_source.
 *
 * The lines are main.cf's, see conf_lines.c; the last definition of a name counts. `[listener NAME]` and
 * `[transport NAME]` begin a section that lasts until the next; in the main.cf of a directory there are none, its
 * services are in master.cf (conf_master.c).
 */
#include "core/conf/conf_int.h"

#include "core/base/alloc.h"
#include "core/base/assert.h"

#include <sys/stat.h>

#define BLANKS     " \t\r\n\v\f"
#define NO_SECTION SIZE_MAX /* the section line was wrong: what follows is read and dropped */

struct parser {
    struct conf_source *source;
    struct conf_report *report;
    size_t section; /* index of the current one, or NO_SECTION */
    int line;       /* where the logical line began */
};

#define ERROR_AT(p, line, ...) conf_report_add((p)->report, CONF_SEVERITY_ERROR, (p)->source->path, line, __VA_ARGS__)

/* ---- sections and assignments ---- */

struct conf_section *conf_section_add(struct conf_source *s, enum conf_section_kind kind, const char *name,
                                      const char *file, int line)
{
    struct conf_section *added;

    if (s->nsections == s->cap) {
        s->cap = s->cap == 0 ? 8 : s->cap * 2;
        s->sections = mem_resize(s->sections, s->cap * sizeof *s->sections);
    }
    added = &s->sections[s->nsections++];
    *added = (struct conf_section){.kind = kind, .name = name, .file = file, .line = line};
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

void conf_section_assign(struct conf_section *s, const struct conf_assignment *new, struct conf_report *report)
{
    const struct conf_assignment *old = conf_section_get(s, new->name);

    if (old != NULL) {
        conf_report_add(report, CONF_SEVERITY_WARNING, old->file, old->line,
                        "%s is set again in line %d, which is the one that counts", old->name, new->line);
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
    conf_section_add(p->source, kind, copy, p->source->path, p->line);
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
        conf_section_assign(&p->source->sections[p->section], &new, p->report);
}

static void logical_line(void *ctx, const struct conf_logical *logical)
{
    struct parser *p = ctx;
    struct slice line = slice_trim(buf_slice(&logical->text));

    p->line = logical->number;
    if (line.p[0] != '[')
        assignment_line(p, line);
    else if (!p->source->postfix)
        section_line(p, line);
    else
        ERROR_AT(p, p->line, "\"%.*s\": there are no sections in Postfix's main.cf; its services are in master.cf",
                 (int)line.n, line.p);
}

/* ---- files ---- */

void conf_parse_text(struct slice text, const char *path, struct conf_source *source, struct conf_report *report)
{
    struct parser p = {.source = source, .report = report};

    source->path = arena_strdup(&source->arena, path);
    conf_section_add(source, CONF_SECTION_MAIN, NULL, source->path, 0);
    conf_lines_each(text, source->path, report, logical_line, &p);
}

void conf_parse_postfix(struct slice main_cf, struct slice master_cf, const char *directory, struct conf_source *source,
                        struct conf_report *report)
{
    struct slice dir = slice_str(directory);

    while (dir.n > 1 && dir.p[dir.n - 1] == '/')
        dir.n--;
    source->postfix = true;
    source->master = arena_printf(&source->arena, "%.*s/master.cf", (int)dir.n, dir.p);
    conf_parse_text(main_cf, arena_printf(&source->arena, "%.*s/main.cf", (int)dir.n, dir.p), source, report);
    conf_master_parse(source, master_cf, report);
    conf_master_sections(source, report);
}

static bool read_or_complain(const char *path, struct buf *text, struct conf_report *report)
{
    const char *why = conf_lines_read(path, text);

    if (why != NULL)
        conf_report_add(report, CONF_SEVERITY_ERROR, path, 0, "the configuration cannot be read: %s", why);
    return why == NULL;
}

static bool parse_directory(const char *path, struct conf_source *source, struct conf_report *report)
{
    const char *main_path = arena_printf(&source->arena, "%s/main.cf", path);
    const char *master_path = arena_printf(&source->arena, "%s/master.cf", path);
    struct buf main_cf = {0}, master_cf = {0};
    bool ok = read_or_complain(main_path, &main_cf, report);

    ok = read_or_complain(master_path, &master_cf, report) && ok;
    if (ok)
        conf_parse_postfix(buf_slice(&main_cf), buf_slice(&master_cf), path, source, report);
    buf_release(&main_cf);
    buf_release(&master_cf);
    return ok;
}

bool conf_parse_file(const char *path, struct conf_source *source, struct conf_report *report)
{
    struct buf text = {0};
    struct stat st;
    bool ok;

    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return parse_directory(path, source, report);
    ok = read_or_complain(path, &text, report);
    if (ok)
        conf_parse_text(buf_slice(&text), path, source, report);
    buf_release(&text);
    return ok;
}

void conf_source_clear(struct conf_source *s)
{
    for (size_t i = 0; i < s->nsections; i++)
        mem_free(s->sections[i].items);
    mem_free(s->sections);
    mem_free(s->services);
    arena_clear(&s->arena);
    *s = (struct conf_source){0};
}
