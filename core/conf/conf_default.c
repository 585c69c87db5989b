/*
 * Defaults that are found out rather than written: the COMPUTED rows, and the file form of myorigin. Called by
 * conf_view.c in the middle of an expansion, so that a default which depends on another parameter is part of the same
 * loop check.
 */
#include "core/conf/conf_int.h"

#include "core/base/assert.h"

#include <errno.h>
#include <unistd.h>

/* The value of another parameter; NULL with x->failure set. */
static const char *value_of(struct conf_expansion *x, const char *name)
{
    struct buf text = {0};
    const char *copy = NULL;

    if (conf_expand_name(x, name, &text))
        copy = arena_strdup(x->view->arena, buf_cstr(&text));
    buf_release(&text);
    return copy;
}

static bool compute_config_directory(struct conf_expansion *x, const char **text)
{
    struct slice path = slice_str(x->view->source->path);
    size_t slash = slice_rfind(path, '/');

    if (path.n == 0)
        *text = "/etc/mta";
    else if (slash == SLICE_NOT_FOUND)
        *text = ".";
    else
        *text = arena_slice_dup(x->view->arena, slice_head(path, slash == 0 ? 1 : slash));
    return true;
}

/* Postfix makes a name without a dot fully qualified in the same way. */
static bool compute_myhostname(struct conf_expansion *x, const char **text)
{
    const char *name = x->view->machine->hostname;

    *text = strchr(name, '.') != NULL ? name : arena_printf(x->view->arena, "%s.localdomain", name);
    return true;
}

static bool compute_mydomain(struct conf_expansion *x, const char **text)
{
    const char *host = value_of(x, "myhostname"), *dot;

    if (host == NULL)
        return false;
    dot = strchr(host, '.');
    *text = dot != NULL && dot[1] != '\0' ? dot + 1 : "localdomain";
    return true;
}

/* An ENUM parameter in the middle of an expansion. */
static bool word_of(struct conf_expansion *x, const char *name, int *word)
{
    const struct conf_row *row = conf_row_find(name);
    const char *text = value_of(x, name);

    if (text == NULL)
        return false;
    for (const struct conf_word *w = row->words; w->text != NULL; w++)
        if (slice_ieq(slice_str(w->text), slice_str(text))) {
            *word = w->value;
            return true;
        }
    *word = row->words[0].value; /* the parameter itself is complained about where it is set */
    return true;
}

static bool compute_mynetworks(struct conf_expansion *x, const char **text)
{
    const char *interfaces = value_of(x, "inet_interfaces");
    struct conf_machine own = {0};
    int protocols = 0, style = 0;
    struct slice bad;

    if (interfaces == NULL || !word_of(x, "inet_protocols", &protocols) || !word_of(x, "mynetworks_style", &style))
        return false;
    /* A word that is no address leaves the list short here, and is an error where inet_interfaces is used. */
    conf_machine_interfaces(x->view->machine, interfaces, protocols, &own, &bad);
    *text = conf_machine_networks(x->view->arena, &own, style);
    conf_machine_clear(&own);
    return true;
}

/* hash:/etc/aliases where there is that file; a container, or a machine that never had a mail server, has none. */
static bool compute_alias_maps(struct conf_expansion *x, const char **text)
{
    (void)x;
    *text = access("/etc/aliases", F_OK) == 0 ? "hash:/etc/aliases" : "";
    return true;
}

static const struct {
    const char *name;
    bool (*compute)(struct conf_expansion *, const char **text);
    const char *what; /* in words, for the reference */
} computed[] = {
    {"config_directory", compute_config_directory, "the directory of the configuration"},
    {"myhostname", compute_myhostname, "the name of the machine"},
    {"mydomain", compute_mydomain, "$myhostname without its first label"},
    {"mynetworks", compute_mynetworks, "the machine's own addresses or networks, by $mynetworks_style"},
    {"alias_maps", compute_alias_maps, "hash:/etc/aliases where there is that file"},
};

bool conf_default_compute(struct conf_expansion *x, const char *name, const char **text)
{
    size_t i = 0;

    while (i < ARRAY_LEN(computed) && strcmp(computed[i].name, name) != 0)
        i++;
    MTA_ASSERT(i < ARRAY_LEN(computed)); /* every COMPUTED row is in the table */
    return computed[i].compute(x, text);
}

const char *conf_default_describe(const char *name)
{
    size_t i = 0;

    while (i < ARRAY_LEN(computed) && strcmp(computed[i].name, name) != 0)
        i++;
    MTA_ASSERT(i < ARRAY_LEN(computed));
    return computed[i].what;
}

/* ---- names ---- */

static bool label_valid(struct slice label)
{
    if (label.n == 0 || label.n > 63 || label.p[0] == '-' || label.p[label.n - 1] == '-')
        return false;
    for (size_t i = 0; i < label.n; i++)
        if (!ascii_alnum(label.p[i]) && label.p[i] != '-' && label.p[i] != '_' && (unsigned char)label.p[i] < 128)
            return false;
    return true;
}

bool conf_domain_valid(const char *name)
{
    struct slice rest = slice_str(name);
    bool digits_only = true;

    if (rest.n == 0 || rest.n > 255)
        return false;
    for (size_t i = 0; i < rest.n; i++)
        digits_only = digits_only && (ascii_digit(rest.p[i]) || rest.p[i] == '.');
    for (size_t dot; (dot = slice_find(rest, '.')) != SLICE_NOT_FOUND;
         rest = slice_make(rest.p + dot + 1, rest.n - dot - 1))
        if (!label_valid(slice_head(rest, dot)))
            return false;
    return label_valid(rest) && !digits_only;
}

bool conf_default_origin(struct conf_expansion *x, const char *path, const char **text)
{
    char line[1024] = "";
    FILE *f = fopen(path, "re");
    bool read;

    if (f == NULL)
        return conf_expand_fail(x, "%s cannot be read: %s", path, strerror(errno));
    read = fgets(line, sizeof line, f) != NULL;
    fclose(f);
    *text = arena_slice_dup(x->view->arena, slice_trim(slice_str(line)));
    if (!read || (*text)[0] == '\0')
        return conf_expand_fail(x, "the first line of %s is empty", path);
    if (!conf_domain_valid(*text))
        return conf_expand_fail(x, "the first line of %s is not a domain name", path);
    return true;
}
