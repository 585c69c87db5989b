/*
 * `mta config import DIR`: a directory with Postfix's main.cf and master.cf -> the mta.conf that means the same. Called
 * by cli; conf_import_report.c says what becomes of each line.
 *
 * The language is the same, so main.cf is printed as it is, with its comments. Behind it come the sections that its
 * services are. What would be an error in an mta.conf and is none in a directory is printed as comments: listeners that
 * are not opened, transports whose user this machine does not have.
 */
#include "core/conf/conf_import.h"

#include <grp.h>
#include <pwd.h>
#include <stdlib.h>

struct work {
    struct conf_import *import;
    FILE *out;
    struct buf text; /* of one section */
};

/* ---- main.cf ---- */

static bool sets(const struct conf_import *m, const char *name)
{
    return conf_section_get(&m->source.sections[0], name) != NULL;
}

static bool directory_used(const struct conf_import *m)
{
    for (size_t i = 0; i < m->source.nsections; i++)
        for (size_t k = 0; k < m->source.sections[i].n; k++) {
            const char *value = m->source.sections[i].items[k].value;

            if (strstr(value, "config_directory") != NULL)
                return true;
        }
    return false;
}

/* main.cf as it is, and what it means without saying it. */
static void print_main(const struct work *w, struct slice main_cf)
{
    const struct conf_import *m = w->import;

    fwrite(main_cf.p, 1, main_cf.n, w->out);
    if (main_cf.n > 0 && main_cf.p[main_cf.n - 1] != '\n')
        fputc('\n', w->out);
    if (!sets(m, "compatibility_level"))
        fputs("\n# Postfix's default, which main.cf was written for.\ncompatibility_level = 0\n", w->out);
    if (!sets(m, "config_directory") && directory_used(m))
        fprintf(w->out, "\n# What main.cf calls $config_directory.\nconfig_directory = %s\n", m->directory);
}

/* ---- sections ---- */

static bool is_option(const struct conf_assignment *a)
{
    return slice_starts(slice_str(a->name), SLICE_LIT("-o "));
}

static void add_setting(struct work *w, const struct conf_section *section, const struct conf_assignment *a)
{
    const char *name = is_option(a) ? conf_import_option(section, a->name) : a->name;

    if (name == NULL)
        buf_printf(&w->text, "# not supported yet: %s = %s\n", a->name, a->value);
    else
        buf_printf(&w->text, "%s =%s%s\n", name, a->value[0] != '\0' ? " " : "", a->value);
}

/* The text of the section as it is, or as comments. */
static void put_section(const struct work *w, bool comments)
{
    struct slice rest = buf_slice(&w->text);

    fputc('\n', w->out);
    for (struct slice line; (line = slice_token(&rest, "\n")).n > 0;)
        fprintf(w->out, "%s%.*s\n", comments && line.p[0] != '#' ? "# " : "", (int)line.n, line.p);
}

static void print_section(struct work *w, const struct conf_service *s, const char *kind, const char *left_out)
{
    const struct conf_section *section = &w->import->source.sections[s->section];

    buf_clear(&w->text);
    buf_printf(&w->text, "# master.cf line %d\n", s->line);
    if (left_out != NULL)
        buf_printf(&w->text, "# %s\n", left_out);
    buf_printf(&w->text, "[%s %s]\n", kind, conf_import_name(w->import, s));
    for (size_t i = 0; i < section->n; i++)
        add_setting(w, section, &section->items[i]);
    put_section(w, left_out != NULL);
}

static void print_services(struct work *w)
{
    const struct conf_source *source = &w->import->source;
    bool listens = false;

    for (size_t i = 0; i < source->nservices; i++) {
        const struct conf_service *s = &source->services[i];

        if (s->use == CONF_SERVICE_LISTENER) {
            const char *left_out = conf_import_left_out(w->import, s);

            listens = listens || left_out == NULL;
            print_section(w, s, "listener", left_out);
        } else if (s->use == CONF_SERVICE_TRANSPORT && !conf_import_implied(w->import, s))
            print_section(w, s, "transport", conf_import_left_out(w->import, s));
    }
    if (!listens)
        fputs("\n# master.cf opens no port here; without this section there would be port 25 on all addresses.\n"
              "[listener local]\nlisten = 127.0.0.1:25\n",
              w->out);
}

/* ---- what the report asks, too ---- */

static const char *legal_name(struct arena *a, const char *name)
{
    char *legal = arena_strdup(a, name);
    size_t n = 0;

    for (const char *c = name; *c != '\0'; c++) {
        if (ascii_alnum(*c) || strchr("_.", *c) != NULL)
            legal[n++] = *c;
        else if (n > 0 && legal[n - 1] != '-')
            legal[n++] = '-';
    }
    while (n > 0 && legal[n - 1] == '-')
        n--;
    legal[n] = '\0';
    return n > 0 ? legal : "listener";
}

/* "[::1]:25" and "1:25" are one name without what no name may have: then the line makes the difference. */
const char *conf_import_name(struct conf_import *m, const struct conf_service *s)
{
    const char *name = legal_name(&m->arena, s->name);

    if (s->use == CONF_SERVICE_TRANSPORT)
        return s->name;
    for (size_t i = 0; i < m->source.nservices; i++) {
        const struct conf_service *other = &m->source.services[i];

        if (other != s && other->use == CONF_SERVICE_LISTENER && strcmp(legal_name(&m->arena, other->name), name) == 0)
            return arena_printf(&m->arena, "%s-line%d", name, s->line);
    }
    return name;
}

/* NULL, or who is not there. */
static const char *missing_user(struct conf_import *m, const struct conf_section *section)
{
    const struct conf_assignment *user = conf_section_get(section, "user");
    struct slice all = slice_str(user != NULL ? user->value : NULL);
    size_t colon = slice_find(all, ':');
    const char *name = arena_slice_dup(&m->arena, slice_head(all, colon));

    if (user == NULL || slice_find(all, '$') != SLICE_NOT_FOUND)
        return NULL;
    if (getpwnam(name) == NULL)
        return arena_printf(&m->arena, "there is no user \"%s\"", name);
    if (colon != SLICE_NOT_FOUND && getgrnam(all.p + colon + 1) == NULL)
        return arena_printf(&m->arena, "there is no group \"%s\"", all.p + colon + 1);
    return NULL;
}

const char *conf_import_left_out(struct conf_import *m, const struct conf_service *s)
{
    const struct conf_section *section = &m->source.sections[s->section];
    const struct conf_build b = {&m->source, &m->machine, &m->report, &m->arena, NULL};

    if (s->use == CONF_SERVICE_LISTENER)
        return conf_listener_closed(&b, section) ? "not opened: it asks for a protection that is not supported yet"
                                                 : NULL;
    return missing_user(m, section);
}

const char *conf_import_option(const struct conf_section *section, const char *option)
{
    const char *type = section->items[0].value, *name = option + strlen("-o ");
    bool smtp = strcmp(type, "smtp") == 0 && conf_client_takes(CONF_TRANSPORT_TYPE_SMTP, name);
    bool lmtp = strcmp(type, "lmtp") == 0 && conf_client_takes(CONF_TRANSPORT_TYPE_LMTP, name);

    return smtp || lmtp ? name : NULL;
}

/* Its type is its only setting, and the one that this name has without a section. */
bool conf_import_implied(const struct conf_import *m, const struct conf_service *s)
{
    static const struct {
        const char *name, *type;
    } implied[] = {{"smtp", "smtp"},   {"relay", "smtp"},  {"lmtp", "lmtp"},       {"local", "local"},
                   {"error", "error"}, {"retry", "retry"}, {"discard", "discard"}, {"virtual", "maildir"}};
    const struct conf_section *section = &m->source.sections[s->section];

    for (size_t i = 1; i < section->n; i++)
        if (!is_option(&section->items[i]) || conf_import_option(section, section->items[i].name) != NULL)
            return false;
    for (size_t i = 0; i < sizeof implied / sizeof implied[0]; i++)
        if (strcmp(s->name, implied[i].name) == 0)
            return strcmp(section->items[0].value, implied[i].type) == 0;
    return false;
}

/* ---- the whole ---- */

static bool load(struct conf_import *m, const char *directory, FILE *err)
{
    char *real = realpath(directory, NULL);

    m->directory = arena_strdup(&m->arena, real != NULL ? real : directory);
    free(real);
    conf_parse_file(directory, &m->source, &m->report);
    if (m->report.nerrors == 0 && !m->source.postfix)
        fprintf(err, "mta: %s is no directory with Postfix's main.cf and master.cf\n", directory);
    else if (m->report.nerrors > 0)
        conf_report_print(&m->report, err);
    return m->report.nerrors == 0 && m->source.postfix;
}

int conf_import(const char *directory, FILE *out, FILE *err)
{
    struct conf_import m = {0};
    struct work w = {.import = &m, .out = out};
    struct buf main_cf = {0};
    bool ok = load(&m, directory, err);

    if (ok && conf_lines_read(m.source.path, &main_cf) != NULL) {
        fprintf(err, "mta: %s has gone away\n", m.source.path);
        ok = false;
    }
    if (ok) {
        conf_machine_load(&m.machine);
        print_main(&w, buf_slice(&main_cf));
        print_services(&w);
        conf_import_report(&m, err);
    }
    buf_release(&w.text);
    buf_release(&main_cf);
    conf_report_clear(&m.report);
    conf_machine_clear(&m.machine);
    conf_source_clear(&m.source);
    arena_clear(&m.arena);
    return ok ? 0 : 1;
}
