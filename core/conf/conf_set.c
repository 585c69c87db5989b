/*
 * `mta config set` and `mta config unset`: changes of the configuration file by name, all of them or none. Called by
 * cli_config. The changed text is judged first, as --check-config would; then it takes the file's place by a rename.
 * Blocks: disk, the lock of others that do the same.
 */
#include "core/conf/conf_int.h"

#include "core/base/assert.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct work {
    const char *path; /* as given: a file, or a directory with main.cf and master.cf */
    const char *file; /* what is changed, symbolic links followed */
    bool postfix;
    struct arena arena;
    FILE *err;
    struct conf_change *changes;
    size_t n;
    struct conf_machine machine;
};

static bool refuse(const struct work *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool refuse(const struct work *w, const char *fmt, ...)
{
    va_list ap;

    fputs("mta: error: ", w->err);
    va_start(ap, fmt);
    vfprintf(w->err, fmt, ap);
    va_end(ap);
    fputc('\n', w->err);
    return false;
}

/* ---- arguments ---- */

static bool parse_section(struct work *w, struct slice kind, struct slice name, struct conf_change *out)
{
    if (slice_eq(kind, SLICE_LIT("listener")))
        out->kind = CONF_SECTION_LISTENER;
    else if (slice_eq(kind, SLICE_LIT("transport")))
        out->kind = CONF_SECTION_TRANSPORT;
    else
        return refuse(w, "\"%.*s\" is neither listener nor transport", (int)kind.n, kind.p);
    out->section = arena_slice_dup(&w->arena, name);
    if (w->postfix)
        return refuse(w, "the services of %s are in its master.cf, which is not edited here", w->path);
    return true;
}

/* "name=value", "listener/NAME/name=value", "transport/NAME/name=value"; for unset without the value. */
static bool parse_change(struct work *w, const char *text, bool set, struct conf_change *out)
{
    struct slice all = slice_str(text), name = slice_head(all, slice_find(all, '='));
    size_t first = slice_find(name, '/'), last = slice_rfind(name, '/');

    *out = (struct conf_change){.kind = CONF_SECTION_MAIN};
    if (set && name.n == all.n)
        return refuse(w, "\"%s\" has no =: NAME=VALUE is expected", text);
    if (!set && name.n != all.n)
        return refuse(w, "\"%s\": a name without a value is expected", text);
    if (strpbrk(text, "\r\n") != NULL)
        return refuse(w, "\"%.*s\": the value has more than one line", (int)name.n, name.p);
    out->value = set ? arena_slice_dup(&w->arena, slice_trim(slice_from(all, name.n + 1))) : "";
    if (first != SLICE_NOT_FOUND) {
        if (first == last)
            return refuse(w, "\"%.*s\": listener/NAME/PARAMETER or transport/NAME/SETTING is expected", (int)name.n,
                          name.p);
        if (!parse_section(w, slice_trim(slice_head(name, first)),
                           slice_trim(slice_make(name.p + first + 1, last - first - 1)), out))
            return false;
        name = slice_from(name, last + 1);
    }
    out->name = arena_slice_dup(&w->arena, slice_trim(name));
    if (out->name[0] == '\0' || strpbrk(out->name, " \t#[") != NULL)
        return refuse(w, "\"%s\": there is no such name", text);
    return true;
}

/* ---- judging the changed text ---- */

static void parse_text(const struct work *w, struct slice text, struct conf_source *source, struct conf_report *report)
{
    struct buf master = {0};
    const char *path;

    if (!w->postfix) {
        conf_parse_text(text, w->path, source, report);
        return;
    }
    path = arena_printf(&source->arena, "%s/master.cf", w->path);
    if (conf_lines_read(path, &master) == NULL)
        conf_parse_postfix(text, buf_slice(&master), w->path, source, report);
    else
        conf_parse_text(text, w->file, source, report);
    buf_release(&master);
}

/* The section a change is about; NULL when it is not there. */
static const struct conf_section *section_of(const struct conf_source *source, const struct conf_change *change)
{
    for (size_t i = 0; i < source->nsections; i++) {
        const struct conf_section *s = &source->sections[i];

        if (s->kind == change->kind && (s->name == NULL || strcmp(s->name, change->section) == 0))
            return s;
    }
    return NULL;
}

/* A setting of a transport's or listener's section is an error of its own when it is unknown. */
static bool check_name(struct work *w, const struct conf_source *source, const struct conf_change *change)
{
    struct conf_view v = {.source = source, .machine = &w->machine, .arena = &w->arena};
    const char *near;

    if (change->kind == CONF_SECTION_TRANSPORT || conf_name_known(&v, change->name) ||
        conf_name_used(source, change->name) ||
        (change->kind == CONF_SECTION_LISTENER && strcmp(change->name, "listen") == 0))
        return true;
    near = conf_name_nearest(&v, change->name);
    if (near != NULL)
        return refuse(w, "%s: unknown parameter; did you mean %s?", change->name, near);
    return refuse(w, "%s: unknown parameter", change->name);
}

/* Is the complaint about the place that a change is at? */
static bool about_change(const struct work *w, const struct conf_source *source, const struct conf_complaint *c)
{
    for (size_t i = 0; i < w->n; i++) {
        const struct conf_section *s = section_of(source, &w->changes[i]);
        const struct conf_assignment *a = s != NULL ? conf_section_get(s, w->changes[i].name) : NULL;

        if (a != NULL && c->line == a->line && strcmp(c->file, a->file) == 0)
            return true;
    }
    return false;
}

/*
 * A file that has errors already may be mended one by one; one that has none gets none. Warnings about what is changed
 * are told, and no obstacle.
 */
static bool check_report(const struct work *w, const struct conf_source *source, bool clean_before,
                         const struct conf_report *after)
{
    bool ok = true;

    for (size_t i = 0; i < after->n; i++) {
        const struct conf_complaint *c = &after->items[i];
        bool mine = about_change(w, source, c);

        if (c->severity == CONF_SEVERITY_ERROR && (clean_before || mine))
            ok = refuse(w, "%s", c->text);
        else if (c->severity == CONF_SEVERITY_WARNING && mine)
            fprintf(w->err, "mta: warning: %s\n", c->text);
    }
    return ok;
}

static void build(const struct work *w, struct slice text, struct conf_source *source, struct conf_report *report)
{
    const struct conf *conf;

    parse_text(w, text, source, report);
    conf = conf_build_snapshot(source, &w->machine, report);
    conf_unref(&conf);
}

static bool check(struct work *w, bool set, struct slice before, struct slice after)
{
    struct conf_source old = {0}, new = {0};
    struct conf_report old_report = {0}, new_report = {0};
    bool ok = true;

    conf_machine_load(&w->machine);
    build(w, before, &old, &old_report);
    build(w, after, &new, &new_report);
    for (size_t i = 0; set && i < w->n; i++)
        ok = check_name(w, &new, &w->changes[i]) && ok;
    ok = ok && check_report(w, &new, old_report.nerrors == 0, &new_report);
    conf_machine_clear(&w->machine);
    conf_report_clear(&old_report);
    conf_report_clear(&new_report);
    conf_source_clear(&old);
    conf_source_clear(&new);
    return ok;
}

/* ---- changes ---- */

static bool edit(const struct work *w, const struct conf_change *change, bool set, struct buf *text)
{
    struct buf out = {0};
    bool done = set ? conf_edit_set(buf_slice(text), change, &out) : conf_edit_unset(buf_slice(text), change, &out);

    if (done) {
        buf_clear(text);
        buf_add_slice(text, buf_slice(&out));
    }
    buf_release(&out);
    if (done)
        return true;
    if (set)
        return refuse(w, "there is no [%s %s] in %s", change->kind == CONF_SECTION_LISTENER ? "listener" : "transport",
                      change->section, w->file);
    fprintf(w->err, "mta: warning: %s: not set in %s\n", change->name, w->file);
    return true;
}

static bool edit_all(struct work *w, bool set, struct buf *text)
{
    struct buf before = {0};
    bool ok = true;

    buf_add_slice(&before, buf_slice(text));
    for (size_t i = 0; i < w->n && ok; i++)
        ok = edit(w, &w->changes[i], set, text);
    ok = ok && check(w, set, buf_slice(&before), buf_slice(text));
    buf_release(&before);
    return ok;
}

/* ---- the file ---- */

static bool write_all(int fd, struct slice text)
{
    while (text.n > 0) {
        ssize_t n = write(fd, text.p, text.n);

        if (n < 0 && errno != EINTR)
            return false;
        text = slice_from(text, n > 0 ? (size_t)n : 0);
    }
    return true;
}

/* A new file beside the old one, with its owner and mode, on disk; then it takes the name. */
static bool replace(struct work *w, struct slice text, int directory)
{
    char *temporary = arena_printf(&w->arena, "%s.XXXXXX", w->file);
    struct stat st;
    int fd;
    bool ok;

    if (stat(w->file, &st) < 0 || (fd = mkostemp(temporary, O_CLOEXEC)) < 0)
        return refuse(w, "%s cannot be replaced: %s", w->file, strerror(errno));
    ok = fchown(fd, st.st_uid, st.st_gid) == 0 && fchmod(fd, st.st_mode & 07777) == 0 && write_all(fd, text) &&
         fsync(fd) == 0 && rename(temporary, w->file) == 0 && fsync(directory) == 0;
    if (!ok) {
        refuse(w, "%s cannot be replaced: %s", w->file, strerror(errno));
        unlink(temporary);
    }
    close(fd);
    return ok;
}

static bool change_file(struct work *w, bool set, int directory)
{
    struct buf text = {0}, before = {0};
    const char *why = conf_lines_read(w->file, &text);
    bool ok;

    if (why != NULL) {
        refuse(w, "%s cannot be read: %s", w->file, why);
        buf_release(&text);
        return false;
    }
    text.max = 0;
    buf_add_slice(&before, buf_slice(&text));
    ok = edit_all(w, set, &text);
    if (ok && !slice_eq(buf_slice(&text), buf_slice(&before)))
        ok = replace(w, buf_slice(&text), directory);
    buf_release(&before);
    buf_release(&text);
    return ok;
}

/* The lock is the directory's, since the file is another one after a rename. */
static bool change_locked(struct work *w, bool set)
{
    struct slice file = slice_str(w->file);
    int directory = open(arena_slice_dup(&w->arena, slice_head(file, slice_rfind(file, '/') + 1)),
                         O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok;

    if (directory < 0 || flock(directory, LOCK_EX) < 0)
        ok = refuse(w, "the directory of %s: %s", w->file, strerror(errno));
    else
        ok = change_file(w, set, directory);
    if (directory >= 0)
        close(directory);
    return ok;
}

static bool find_file(struct work *w)
{
    struct stat st;
    char *real;

    w->postfix = stat(w->path, &st) == 0 && S_ISDIR(st.st_mode);
    w->file = w->postfix ? arena_printf(&w->arena, "%s/main.cf", w->path) : w->path;
    real = realpath(w->file, NULL);
    if (real == NULL)
        return refuse(w, "%s: %s", w->file, strerror(errno));
    w->file = arena_strdup(&w->arena, real);
    free(real);
    return true;
}

int conf_set(const char *path, bool set, const char *const *args, size_t nargs, FILE *err)
{
    struct work w = {.path = path, .err = err};
    bool ok = find_file(&w);

    w.changes = arena_new_array(&w.arena, nargs, sizeof *w.changes);
    for (; ok && w.n < nargs; w.n++)
        ok = parse_change(&w, args[w.n], set, &w.changes[w.n]);
    ok = ok && change_locked(&w, set);
    arena_clear(&w.arena);
    return ok ? 0 : 1;
}
