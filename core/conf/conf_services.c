/*
 * What the services of master.cf mean here. Called by conf_parse.c after conf_master.c has read them.
 *
 *   inet smtpd               a [listener]; its name says where it listens, its -o options are its own settings
 *   pipe, smtp, lmtp, ...    a [transport]; attributes of pipe become settings, an option NAME becomes "-o NAME"
 *   cleanup, qmgr, ...       parts of Postfix that are in the server: nothing, but what an option or a second service
 * of this kind was for is missing, and that is said postscreen, spawn, ...   left out, with a warning that says what to
 * do
 *
 * Every section and setting keeps its line in master.cf.
 */
#include "core/conf/conf_int.h"

#include "core/base/assert.h"

struct command {
    const char *name;
    enum conf_service_use use;
    const char *text; /* TRANSPORT: the type; BUILT_IN: the usual names of the service; LEFT_OUT: what to do */
};

static const struct command commands[] = {
    {"smtpd", CONF_SERVICE_LISTENER, NULL},
    {"pipe", CONF_SERVICE_TRANSPORT, "pipe"},
    {"smtp", CONF_SERVICE_TRANSPORT, "smtp"},
    {"lmtp", CONF_SERVICE_TRANSPORT, "lmtp"},
    {"virtual", CONF_SERVICE_TRANSPORT, "maildir"},
    {"local", CONF_SERVICE_TRANSPORT, "local"},
    {"discard", CONF_SERVICE_TRANSPORT, "discard"},
    {"error", CONF_SERVICE_TRANSPORT, "error"},
    {"anvil", CONF_SERVICE_BUILT_IN, "anvil"},
    {"bounce", CONF_SERVICE_BUILT_IN, "bounce defer trace"},
    {"cleanup", CONF_SERVICE_BUILT_IN, "cleanup"},
    {"dnsblog", CONF_SERVICE_BUILT_IN, "dnsblog"},
    {"flush", CONF_SERVICE_BUILT_IN, "flush"},
    {"nqmgr", CONF_SERVICE_BUILT_IN, "qmgr"},
    {"oqmgr", CONF_SERVICE_BUILT_IN, "qmgr"},
    {"pickup", CONF_SERVICE_BUILT_IN, "pickup"},
    {"postlogd", CONF_SERVICE_BUILT_IN, "postlog"},
    {"proxymap", CONF_SERVICE_BUILT_IN, "proxymap proxywrite"},
    {"qmgr", CONF_SERVICE_BUILT_IN, "qmgr"},
    {"scache", CONF_SERVICE_BUILT_IN, "scache"},
    {"showq", CONF_SERVICE_BUILT_IN, "showq"},
    {"tlsmgr", CONF_SERVICE_BUILT_IN, "tlsmgr"},
    {"tlsproxy", CONF_SERVICE_BUILT_IN, "tlsproxy"},
    {"trivial-rewrite", CONF_SERVICE_BUILT_IN, "rewrite"},
    {"verify", CONF_SERVICE_BUILT_IN, "verify"},
    {"postscreen", CONF_SERVICE_LEFT_OUT,
     "postscreen is not supported, and nothing listens here; to take mail in without it, write smtpd in its place"},
    {"qmqpd", CONF_SERVICE_LEFT_OUT, "QMQP is not supported; clients have to use SMTP"},
    {"spawn", CONF_SERVICE_LEFT_OUT,
     "spawn is not supported; start the program by systemd, and give its socket where this service is named"},
};

static const char *const pipe_settings[] = {"flags", "user", "argv", "eol", "size", "null_sender", "directory"};

/* One service at work. */
struct work {
    struct conf_source *source;
    struct conf_report *report;
    struct conf_service *service;
    const struct command *command;
    size_t next; /* index of the argument to look at */
};

static void complain(const struct work *w, enum conf_severity severity, int line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void complain(const struct work *w, enum conf_severity severity, int line, const char *fmt, ...)
{
    struct buf text = {0};
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    conf_report_add(w->report, severity, w->source->master, line, "service %s: %s", w->service->name, buf_cstr(&text));
    buf_release(&text);
}

#define ERROR_AT(w, line, ...) complain(w, CONF_SEVERITY_ERROR, line, __VA_ARGS__)
#define WARN_AT(w, line, ...)  complain(w, CONF_SEVERITY_WARNING, line, __VA_ARGS__)

static bool wrong(struct work *w)
{
    w->service->use = CONF_SERVICE_WRONG;
    return false;
}

/* ---- options ---- */

static bool add_option(struct work *w, const char *text, int line)
{
    struct conf_service *s = w->service;
    struct arena *a = &w->source->arena;
    struct slice all = slice_str(text);
    size_t equals = slice_find(all, '=');
    struct slice name = slice_trim(slice_head(all, equals == SLICE_NOT_FOUND ? 0 : equals));
    struct conf_assignment *options;

    if (name.n == 0) {
        ERROR_AT(w, line, "-o %s: name=value is expected, or { name = value } where there is white space in it", text);
        return wrong(w);
    }
    options = arena_new_array(a, s->noptions + 1, sizeof *options);
    if (s->noptions > 0)
        memcpy(options, s->options, s->noptions * sizeof *options);
    options[s->noptions++] =
        (struct conf_assignment){.name = arena_slice_dup(a, name),
                                 .value = arena_slice_dup(a, slice_trim(slice_from(all, equals + 1))),
                                 .file = w->source->master,
                                 .line = line};
    s->options = options;
    return true;
}

/* One word of option letters; -o takes what is behind it, or the next word. */
static bool take_letters(struct work *w, const struct conf_argument *arg)
{
    for (const char *letter = arg->text + 1; *letter != '\0'; letter++) {
        if (*letter == 'o' && letter[1] != '\0')
            return add_option(w, letter + 1, arg->line);
        if (*letter == 'o' && w->next < w->service->nargs) {
            w->next++;
            return add_option(w, arg[1].text, arg[1].line);
        }
        if (*letter == 'o')
            ERROR_AT(w, arg->line, "nothing follows -o");
        else if (*letter == 'v' || *letter == 'D')
            continue; /* more to be logged, a debugger */
        else
            ERROR_AT(w, arg->line, "unknown option -%c: there are -o and -v", *letter);
        return wrong(w);
    }
    return true;
}

static bool take_options(struct work *w)
{
    while (w->next < w->service->nargs) {
        const struct conf_argument *arg = &w->service->args[w->next];

        if (arg->text[0] != '-' || arg->text[1] == '\0')
            break;
        w->next++;
        if (!take_letters(w, arg))
            return false;
    }
    return true;
}

/* Behind the options there is nothing, or the attributes of pipe, or a command of somebody else's program. */
static bool nothing_left(struct work *w)
{
    const struct conf_argument *arg = &w->service->args[w->next];

    if (w->next == w->service->nargs)
        return true;
    ERROR_AT(w, arg->line, "unexpected \"%s\": a value with white space in it is written -o { name = value }",
             arg->text);
    return wrong(w);
}

/* ---- sections ---- */

static struct conf_section *add_section(struct work *w, enum conf_section_kind kind)
{
    struct conf_service *s = w->service;

    s->section = w->source->nsections;
    return conf_section_add(w->source, kind, s->name, w->source->master, s->line);
}

static void assign(const struct work *w, struct conf_section *section, const char *name, const char *value, int line)
{
    const struct conf_assignment new = {name, value, w->source->master, line};

    conf_section_assign(section, &new, w->report);
}

static void make_listener(struct work *w)
{
    const struct conf_service *s = w->service;
    struct conf_section *section;

    if (!nothing_left(w))
        return;
    section = add_section(w, CONF_SECTION_LISTENER);
    assign(w, section, "listen", s->name, s->line);
    for (size_t i = 0; i < s->noptions; i++) {
        const struct conf_assignment *o = &s->options[i];

        if (strcmp(o->name, "listen") == 0)
            WARN_AT(w, o->line, "unused parameter listen");
        else
            assign(w, section, o->name, o->value, o->line);
    }
}

static const char *pipe_setting(struct slice name)
{
    for (size_t i = 0; i < ARRAY_LEN(pipe_settings); i++)
        if (slice_ieq(name, slice_str(pipe_settings[i])))
            return pipe_settings[i];
    return NULL;
}

/* "name=value"; of argv everything that is left, as it is written. */
static bool take_attribute(struct work *w, struct conf_section *section)
{
    const struct conf_argument *arg = &w->service->args[w->next++];
    struct slice all = slice_str(arg->text), name = slice_head(all, slice_find(all, '=')), value;
    const char *setting = pipe_setting(name);
    struct conf_near near = {.name = arena_slice_dup(&w->source->arena, name)};

    if (setting == NULL || name.n == all.n) {
        for (size_t i = 0; i < ARRAY_LEN(pipe_settings); i++)
            conf_near_try(&near, pipe_settings[i]);
        if (slice_ieq(name, SLICE_LIT("chroot")))
            ERROR_AT(w, arg->line, "chroot= is not supported: the command would see all files");
        else if (near.best != NULL)
            ERROR_AT(w, arg->line, "unknown attribute %s of pipe; did you mean %s=?", near.name, near.best);
        else
            ERROR_AT(w, arg->line, "unknown attribute %s of pipe: the command begins with argv=", near.name);
        return wrong(w);
    }
    value = slice_from(all, name.n + 1);
    if (strcmp(setting, "argv") == 0) {
        w->next = w->service->nargs;
        if (arg->rest[0] != '{')
            value = slice_from(slice_str(arg->rest), name.n + 1);
    }
    assign(w, section, setting, arena_slice_dup(&w->source->arena, value), arg->line);
    return true;
}

static bool name_legal(const char *name)
{
    for (; *name != '\0'; name++)
        if (!ascii_alnum(*name) && strchr("_.-", *name) == NULL)
            return false;
    return true;
}

/* Postfix's error(8) defers when its service has the name retry. */
static const char *transport_type(const struct work *w)
{
    return strcmp(w->command->text, "error") == 0 && strcmp(w->service->name, "retry") == 0 ? "retry"
                                                                                            : w->command->text;
}

static void make_transport(struct work *w)
{
    const struct conf_service *s = w->service;
    bool pipe = strcmp(w->command->name, "pipe") == 0;
    struct conf_section *section;

    if (!name_legal(s->name)) {
        ERROR_AT(w, s->line, "this is no name for a transport: letters, digits, '_', '-' and '.'");
        wrong(w);
        return;
    }
    if (!pipe && !nothing_left(w))
        return;
    section = add_section(w, CONF_SECTION_TRANSPORT);
    assign(w, section, "type", transport_type(w), s->line);
    if (s->maxproc != NULL)
        assign(w, section, "maxproc", s->maxproc, s->line);
    for (size_t i = 0; i < s->noptions; i++)
        assign(w, section, arena_printf(&w->source->arena, "-o %s", s->options[i].name), s->options[i].value,
               s->options[i].line);
    while (pipe && w->next < s->nargs && take_attribute(w, section))
        ;
}

/* ---- the rest ---- */

static bool has_word(const char *list, const char *wanted)
{
    struct slice rest = slice_str(list);

    for (struct slice word; (word = slice_token(&rest, " ")).n > 0;)
        if (slice_eq(word, slice_str(wanted)))
            return true;
    return false;
}

/* Does an option of a built-in service change what happens to mail? */
static bool option_matters(const struct conf_assignment *o)
{
    return strcmp(o->name, "syslog_name") != 0 && !conf_value_off(o->value);
}

static void check_built_in(struct work *w)
{
    const struct conf_service *s = w->service;

    if (!has_word(w->command->text, s->name))
        WARN_AT(w, s->line, "one more %s is not supported: mail goes through the one that is built in", s->command);
    for (size_t i = 0; i < s->noptions; i++)
        if (option_matters(&s->options[i]))
            WARN_AT(w, s->options[i].line, "-o %s is not supported: %s is built in, without options of its own",
                    s->options[i].name, s->command);
}

static void leave_out(struct work *w, const char *note)
{
    w->service->use = CONF_SERVICE_LEFT_OUT;
    w->service->note = note;
    WARN_AT(w, w->service->line, "%s", note);
}

static void unknown_command(struct work *w)
{
    const char *command = w->service->command;
    struct conf_near near = {.name = command};

    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        conf_near_try(&near, commands[i].name);
    if (near.best == NULL) {
        leave_out(w, arena_printf(&w->source->arena, "\"%s\" is no program of Postfix: it is not started", command));
        return;
    }
    ERROR_AT(w, w->service->line, "there is no program \"%s\"; did you mean %s?", command, near.best);
    wrong(w);
}

/* ---- services ---- */

/* What a listener or transport cannot be: NULL, or why it is left out. */
static const char *misplaced(const struct work *w)
{
    const char *type = w->service->type;

    if (w->command->use == CONF_SERVICE_LISTENER && strcmp(type, "pass") == 0)
        return "its clients come from postscreen, which is not supported; smtpd takes them itself as a service of type "
               "inet";
    if (w->command->use == CONF_SERVICE_LISTENER && strcmp(type, "inet") != 0)
        return "a server on a UNIX-domain socket is not supported; smtpd is a service of type inet";
    if (w->command->use == CONF_SERVICE_TRANSPORT && strcmp(type, "unix") != 0 && strcmp(type, "fifo") != 0)
        return "a delivery agent is a service of type unix";
    return NULL;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static void service(struct work *w)
{
    const char *note;

    w->command = find_command(w->service->command);
    if (w->command == NULL) {
        unknown_command(w);
        return;
    }
    w->service->use = w->command->use;
    note = w->command->use == CONF_SERVICE_LEFT_OUT ? w->command->text : misplaced(w);
    if (note != NULL) {
        leave_out(w, note);
        return;
    }
    if (!take_options(w))
        return;
    switch (w->command->use) {
    case CONF_SERVICE_LISTENER: make_listener(w); break;
    case CONF_SERVICE_TRANSPORT: make_transport(w); break;
    case CONF_SERVICE_BUILT_IN: check_built_in(w); break;
    case CONF_SERVICE_LEFT_OUT:
    case CONF_SERVICE_WRONG: break;
    }
}

/* Columns that mean nothing here: said once, at the first service that has them. */
static void check_columns(const struct conf_source *source, struct conf_report *report)
{
    const struct conf_service *chroot = NULL, *maxproc = NULL;

    for (size_t i = source->nservices; i > 0; i--) {
        const struct conf_service *s = &source->services[i - 1];

        if (s->chroot && (s->use == CONF_SERVICE_LISTENER || s->use == CONF_SERVICE_TRANSPORT))
            chroot = s;
        if (s->maxproc != NULL && s->use == CONF_SERVICE_LISTENER)
            maxproc = s;
    }
    if (chroot != NULL)
        conf_report_add(report, CONF_SEVERITY_WARNING, source->master, chroot->line,
                        "the column chroot has no effect: paths are those of the whole system");
    if (maxproc != NULL)
        conf_report_add(report, CONF_SEVERITY_WARNING, source->master, maxproc->line,
                        "the column maxproc of smtpd has no effect: sessions are no processes");
}

void conf_master_sections(struct conf_source *source, struct conf_report *report)
{
    for (size_t i = 0; i < source->nservices; i++) {
        struct work w = {.source = source, .report = report, .service = &source->services[i]};

        service(&w);
    }
    check_columns(source, report);
}
