/*
 * [transport NAME] sections and the built-in transports -> struct conf_transport. Called by conf.c; what it makes is
 * in the snapshot's arena. Asks the user database for `user`.
 */
#include "core/conf/conf_int.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

/* A transport under construction. */
struct work {
    const struct conf_build *build;
    struct conf_view view;
    const struct conf_section *section; /* NULL: built in */
    struct conf_transport *t;
};

static const unsigned types_to_come = 1u << CONF_TRANSPORT_TYPE_LOCAL;

static const char *type_name(enum conf_transport_type type)
{
    return conf_words_transport_type[type].text;
}

/* At the line of `key`, or of the section when it does not set it. */
static void complain(const struct work *w, enum conf_severity severity, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void complain(const struct work *w, enum conf_severity severity, const char *key, const char *fmt, ...)
{
    const struct conf_assignment *at = key != NULL && w->section != NULL ? conf_section_get(w->section, key) : NULL;
    struct buf text = {0};
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    conf_report_add(w->build->report, severity, w->t->file, at != NULL ? at->line : w->t->line, "transport %s: %s",
                    w->t->name, buf_cstr(&text));
    buf_release(&text);
}

#define ERROR_AT(w, key, ...) complain(w, CONF_SEVERITY_ERROR, key, __VA_ARGS__)

/* ---- rows ---- */

static void fill_row(const struct work *w, const struct conf_row *row)
{
    const struct conf_assignment *own = w->section != NULL ? conf_section_get(w->section, row->name) : NULL;
    struct conf_failure failure = {0};
    const char *text = own != NULL ? own->value : row->def;
    char why[500];

    if (!row->verbatim)
        text = conf_view_text(&w->view, text, &failure);
    if (text != NULL && conf_value_set(row, w->t, text, w->build->arena, why, sizeof why))
        return;
    if (own != NULL)
        ERROR_AT(w, row->name, "%s: %s", row->name, text == NULL ? failure.text : why);
    if (row->type == CONF_TYPE_STR)
        conf_value_set(row, w->t, "", w->build->arena, why, sizeof why);
}

/* <transport>_destination_recipient_limit and its like are parameters of the file, not of the section. */
static void fill_dynamic(const struct work *w, const struct conf_row *row)
{
    const char *name = arena_printf(w->build->arena, "%s_%s", w->t->name, row->name);
    struct conf_failure failure;
    const char *text = conf_view_value(&w->view, name, &failure);
    char why[500];

    if (text != NULL && conf_value_set(row, w->t, text, w->build->arena, why, sizeof why))
        return;
    if (conf_view_find(&w->view, name) == NULL)
        return; /* its default is wrong, and that has been complained about */
    if (text == NULL)
        conf_complain_failure(w->build, &w->view, name, &failure);
    else
        conf_complain(w->build, &w->view, CONF_SEVERITY_ERROR, name, "%s", why);
}

static void fill(const struct work *w)
{
    for (size_t i = 0; i < conf_ntransport_rows; i++)
        fill_row(w, &conf_transport_rows[i]);
    for (size_t i = 0; i < conf_ndynamic_rows; i++)
        fill_dynamic(w, &conf_dynamic_rows[i]);
}

static void fill_client(const struct work *w)
{
    if (w->t->type == CONF_TRANSPORT_TYPE_SMTP || w->t->type == CONF_TRANSPORT_TYPE_LMTP)
        w->t->client = conf_build_client(w->build, w->section, w->t->type);
}

/* "-o name" of a service in master.cf */
static void check_option(const struct work *w, const char *key)
{
    const char *name = key + strlen("-o ");
    const char *near = NULL;

    if (conf_client_takes(w->t->type, name) || conf_value_off(conf_section_get(w->section, key)->value))
        return;
    if (conf_name_known(&w->view, name) || conf_name_used(w->build->source, name)) {
        complain(w, CONF_SEVERITY_WARNING, key, "%s is not supported yet: it has no effect", key);
        return;
    }
    near = conf_name_nearest(&w->view, name);
    if (near != NULL)
        complain(w, CONF_SEVERITY_WARNING, key, "unused parameter %s; did you mean %s?", name, near);
    else
        complain(w, CONF_SEVERITY_WARNING, key, "unused parameter %s", name);
}

static void check_key(const struct work *w, const char *key)
{
    const struct conf_row *row = conf_transport_row_find(key);
    struct conf_near near = {.name = key};

    if (strcmp(key, "type") == 0 || conf_client_takes(w->t->type, key))
        return;
    if (slice_starts(slice_str(key), SLICE_LIT("-o "))) {
        check_option(w, key);
        return;
    }
    if (row != NULL) {
        if ((row->types & 1u << w->t->type) == 0)
            ERROR_AT(w, key, "%s is not a setting of type %s", key, type_name(w->t->type));
        return;
    }
    for (size_t i = 0; i < conf_ntransport_rows; i++)
        conf_near_try(&near, conf_transport_rows[i].name);
    conf_near_try(&near, "type");
    if (near.best != NULL)
        ERROR_AT(w, key, "unknown setting %s; did you mean %s?", key, near.best);
    else if (conf_name_known(&w->view, key))
        ERROR_AT(w, key, "%s is a parameter, which belongs before the first section", key);
    else
        ERROR_AT(w, key, "unknown setting %s", key);
}

/* ---- pipe ---- */

static void check_flags(const struct work *w)
{
    static const char letters[] = "DORXhuqFB.>"; /* in the order of enum conf_pipe_flag */

    for (const char *f = w->t->flags; *f != '\0'; f++) {
        const char *at = strchr(letters, *f);

        if (at == NULL)
            ERROR_AT(w, "flags", "unknown flag \"%c\": there are %s", *f, letters);
        else
            w->t->pipe_flags |= 1u << (at - letters);
    }
    if ((w->t->pipe_flags & (CONF_PIPE_FLAG_DELIVERED_TO | CONF_PIPE_FLAG_ORIGINAL_TO)) != 0 &&
        w->t->destination_recipient_limit > 1)
        complain(w, CONF_SEVERITY_WARNING, "flags",
                 "flags D and O need %s_destination_recipient_limit = 1: mail with more recipients is deferred",
                 w->t->name);
}

/* The byte that a backslash sequence at *s stands for; moves *s behind it; -1 when it is none. */
static int escape(const char **s)
{
    static const char from[] = "abfnrtv\\", to[] = "\a\b\f\n\r\t\v\\";
    const char *at = **s != '\0' ? strchr(from, **s) : NULL;
    int value = 0, digits = 0;

    if (at != NULL) {
        ++*s;
        return (unsigned char)to[at - from];
    }
    while (digits < 3 && **s >= '0' && **s <= '7') {
        value = value * 8 + (*(*s)++ - '0');
        digits++;
    }
    return digits == 0 || value > 255 ? -1 : value;
}

static void check_eol(const struct work *w)
{
    char *out = arena_new(w->build->arena, strlen(w->t->eol) + 1);
    size_t n = 0;

    for (const char *s = w->t->eol; *s != '\0';) {
        int c = (unsigned char)*s++;

        if (c == '\\')
            c = escape(&s);
        if (c < 0) {
            ERROR_AT(w, "eol", "eol: \"%s\" has an unknown backslash sequence", w->t->eol);
            break;
        }
        out[n++] = (char)c;
    }
    w->t->pipe_eol = out;
    w->t->pipe_eol_len = n;
}

/* Postfix's pipe(8) refuses the same: a command must not have the rights of root or of the mail system. */
static void check_ids(const struct work *w)
{
    const struct passwd *owner = getpwnam(w->build->conf->mail_owner);

    if (w->t->uid == 0 || w->t->gid == 0)
        ERROR_AT(w, "user", "user: a command never runs as root or with its group");
    else if (owner != NULL && (owner->pw_uid == w->t->uid || owner->pw_gid == w->t->gid))
        ERROR_AT(w, "user", "user: a command never runs as the mail system's user or group (mail_owner = %s)",
                 w->build->conf->mail_owner);
}

/*
 * Debian's master.cf has transports for programs that few machines have, and Postfix asks for their users at the first
 * delivery. So in a directory this is no error, and the transport is there without being able to deliver.
 */
static void nobody(const struct work *w, const char *what, const char *name)
{
    if (w->build->source->postfix)
        complain(w, CONF_SEVERITY_WARNING, "user", "user: there is no %s \"%s\": its mail is deferred", what, name);
    else
        ERROR_AT(w, "user", "user: there is no %s \"%s\"", what, name);
    w->t->usable = false;
}

static void check_user(const struct work *w)
{
    struct slice all = slice_str(w->t->user);
    size_t colon = slice_find(all, ':');
    const char *user = arena_slice_dup(w->build->arena, slice_head(all, colon));
    const struct passwd *pw = getpwnam(user);
    const struct group *gr;

    if (pw == NULL) {
        nobody(w, "user", user);
        return;
    }
    w->t->has_user = true;
    w->t->uid = pw->pw_uid;
    w->t->gid = pw->pw_gid;
    if (colon != SLICE_NOT_FOUND) {
        gr = getgrnam(w->t->user + colon + 1);
        if (gr == NULL) {
            nobody(w, "group", w->t->user + colon + 1);
            return;
        }
        w->t->gid = gr->gr_gid;
    }
    check_ids(w);
}

static void check_command(const struct work *w)
{
    struct slice rest = slice_str(w->t->argv);
    const char *command = arena_slice_dup(w->build->arena, slice_token(&rest, " \t\r\n"));

    if (command[0] == '\0')
        ERROR_AT(w, "argv", "argv is missing: the command to run and its arguments");
    else if (command[0] == '/' && access(command, X_OK) != 0)
        complain(w, CONF_SEVERITY_WARNING, "argv", "%s cannot be run: %s", command, strerror(errno));
}

static void check_pipe(const struct work *w)
{
    if (w->t->user[0] != '\0')
        check_user(w);
    else if (geteuid() == 0)
        ERROR_AT(w, "user", "user is missing: the command would run as root");
    check_flags(w);
    check_eol(w);
    if (w->t->usable)
        check_command(w);
    if (w->t->directory[0] != '\0' && w->t->directory[0] != '/')
        ERROR_AT(w, "directory", "directory: \"%s\" does not begin with a slash", w->t->directory);
}

/* ---- transports ---- */

static bool find_type(const struct work *w)
{
    const struct conf_assignment *type = conf_section_get(w->section, "type");
    char list[200];

    conf_words_list(conf_words_transport_type, list, sizeof list);
    if (type == NULL) {
        ERROR_AT(w, NULL, "type is missing: one of %s", list);
        return false;
    }
    for (const struct conf_word *word = conf_words_transport_type; word->text != NULL; word++)
        if (slice_ieq(slice_str(word->text), slice_str(type->value))) {
            w->t->type = (enum conf_transport_type)word->value;
            return true;
        }
    ERROR_AT(w, "type", "type: \"%s\" is none of: %s", type->value, list);
    return false;
}

static void build_section(const struct conf_build *b, const struct conf_section *section, struct conf_transport *t)
{
    struct work w = {b, conf_build_view(b, NULL), section, t};

    t->name = arena_strdup(b->arena, section->name);
    t->file = arena_strdup(b->arena, section->file);
    t->line = section->line;
    fill(&w);
    if (!find_type(&w))
        return;
    t->usable = (types_to_come & 1u << t->type) == 0;
    if (!t->usable)
        complain(&w, CONF_SEVERITY_WARNING, "type", "type %s is not supported yet: its mail is deferred",
                 type_name(t->type));
    fill_client(&w);
    for (size_t i = 0; i < section->n; i++)
        check_key(&w, section->items[i].name);
    if (t->type == CONF_TRANSPORT_TYPE_PIPE)
        check_pipe(&w);
}

static void build_builtin(const struct conf_build *b, const struct conf_builtin *builtin, struct conf_transport *t)
{
    struct work w = {b, conf_build_view(b, NULL), NULL, t};

    t->name = builtin->name;
    t->type = builtin->type;
    t->usable = true;
    t->file = b->conf->path;
    fill(&w);
    fill_client(&w);
}

void conf_build_transports(const struct conf_build *b)
{
    size_t most = b->source->nsections + conf_nbuiltins, n = 0;
    struct conf_transport *all = arena_new_array(b->arena, most, sizeof *all);

    b->conf->transports = all;
    for (size_t i = 1; i < b->source->nsections; i++)
        if (b->source->sections[i].kind == CONF_SECTION_TRANSPORT) {
            build_section(b, &b->source->sections[i], &all[n]);
            b->conf->ntransports = ++n;
        }
    for (size_t i = 0; i < conf_nbuiltins; i++)
        if (conf_transport_find(b->conf, conf_builtins[i].name) == NULL) {
            build_builtin(b, &conf_builtins[i], &all[n]);
            b->conf->ntransports = ++n;
        }
}
