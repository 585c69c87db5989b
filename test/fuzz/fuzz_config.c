/*
 * The configuration: core/conf. What was parsed is printed and parsed again, and nothing has changed: sections, names,
 * values, the snapshot, the complaints. `mta config show -n` of what it shows is the same.
 *
 * Input: one byte, bit 0: build snapshots, bit 1: show; the text of mta.conf. The machine is an invented one; no file
 * is read and no resolver asked.
 */
#include "fuzz/fuzz.h"

#include "core/conf/conf_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>

#define CONF_PATH       "fuzz.conf"
#define OPTION_SNAPSHOT 1
#define OPTION_SHOW     2

static struct slice conf_text; /* what CONF_PATH holds */
static bool in_test;

FILE *__wrap_fopen(const char *path, const char *mode);
FILE *__real_fopen(const char *path, const char *mode);
int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **all);
int __real_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **all);
void __wrap_conf_machine_load(struct conf_machine *m);

FILE *__wrap_fopen(const char *path, const char *mode)
{
    if (strcmp(path, CONF_PATH) == 0 && conf_text.n > 0)
        return fmemopen((char *)conf_text.p, conf_text.n, "r");
    if (!in_test || mode[0] != 'r')
        return __real_fopen(path, mode); /* libFuzzer's own */
    errno = ENOENT;
    return NULL;
}

int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **all)
{
    struct addrinfo numeric = *hints;

    numeric.ai_flags |= AI_NUMERICHOST;
    return __real_getaddrinfo(node, service, &numeric, all);
}

void __wrap_conf_machine_load(struct conf_machine *m)
{
    static const char *const addresses[] = {"127.0.0.1", "::1", "192.0.2.1", "2001:db8::1"};
    struct conf_address a;

    m->hostname = arena_strdup(&m->arena, "host.example.com");
    m->have_ipv6 = true;
    for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
        MTA_ASSERT(conf_address_parse(slice_str(addresses[i]), &a));
        conf_machine_add(m, &a);
    }
}

/* ---- parse -> print -> parse ---- */

static void print_source(struct buf *out, const struct conf_source *s)
{
    static const char *const kinds[] = {"", "listener", "transport"};

    for (size_t i = 0; i < s->nsections; i++) {
        const struct conf_section *section = &s->sections[i];

        if (section->kind != CONF_SECTION_MAIN)
            buf_printf(out, "[%s %s]\n", kinds[section->kind], section->name);
        for (size_t j = 0; j < section->n; j++)
            buf_printf(out, "%s = %s\n", section->items[j].name, section->items[j].value);
    }
}

static void check_same_source(const struct conf_source *a, const struct conf_source *b)
{
    MTA_ASSERT(a->nsections == b->nsections);
    for (size_t i = 0; i < a->nsections; i++) {
        const struct conf_section *x = &a->sections[i], *y = &b->sections[i];

        MTA_ASSERT(x->kind == y->kind && fuzz_same(x->name, y->name) && x->n == y->n);
        for (size_t j = 0; j < x->n; j++)
            MTA_ASSERT(fuzz_same(x->items[j].name, y->items[j].name) &&
                       fuzz_same(x->items[j].value, y->items[j].value));
    }
}

/* ---- the snapshot ---- */

#define SAME_BOOL(name)     MTA_ASSERT(a->name == b->name);
#define SAME_INT(name)      MTA_ASSERT(a->name == b->name);
#define SAME_SIZE(name)     MTA_ASSERT(a->name == b->name);
#define SAME_DURATION(name) MTA_ASSERT(a->name##_ms == b->name##_ms);
#define SAME_STR(name)      MTA_ASSERT(a->name != NULL && fuzz_same(a->name, b->name));
#define SAME_ENUM(name)     MTA_ASSERT(a->name == b->name);

static void check_same_view(const struct conf *a, const struct conf *b)
{
#define PARAM(name, TYPE, def, range, apply, doc)              SAME_##TYPE(name)
#define PARAM_NAMED(field, name, TYPE, def, range, apply, doc) SAME_##TYPE(field)
#include "core/conf/params.def"
#undef PARAM
#undef PARAM_NAMED
}

static void check_same_transport(const struct conf_transport *a, const struct conf_transport *b)
{
    MTA_ASSERT(fuzz_same(a->name, b->name) && a->type == b->type && a->usable == b->usable);
    MTA_ASSERT(a->pipe_flags == b->pipe_flags && a->has_user == b->has_user && a->uid == b->uid && a->gid == b->gid);
    MTA_ASSERT(!a->has_user || (a->uid != 0 && a->gid != 0));
#define TRANSPORT_PARAM(types, name, TYPE, def, range, expand, doc) SAME_##TYPE(name)
#include "core/conf/params_transport.def"
#undef TRANSPORT_PARAM
#define DYNAMIC_PARAM(name, TYPE, def, range, doc) SAME_##TYPE(name)
#include "core/conf/params_dynamic.def"
#undef DYNAMIC_PARAM
}

static void check_same_conf(const struct conf *a, const struct conf *b)
{
    check_same_view(a, b);
    MTA_ASSERT(a->nlisteners > 0 && a->nlisteners == b->nlisteners && a->ntransports == b->ntransports);
    MTA_ASSERT(a->nown_addresses == b->nown_addresses && a->nsettings == b->nsettings);
    for (size_t i = 0; i < a->nlisteners; i++) {
        MTA_ASSERT(a->listeners[i].nlisten == b->listeners[i].nlisten);
        check_same_view(a->listeners[i].conf, b->listeners[i].conf);
    }
    for (size_t i = 0; i < a->ntransports; i++)
        check_same_transport(&a->transports[i], &b->transports[i]);
}

static void check_snapshots(const struct conf_source *one, const struct conf_source *two)
{
    struct conf_machine machine = {.n = 0};
    struct conf_report report = {.n = 0}, again = {.n = 0};
    const struct conf *a, *b;

    __wrap_conf_machine_load(&machine);
    a = conf_build_snapshot(one, &machine, &report);
    b = conf_build_snapshot(two, &machine, &again);
    MTA_ASSERT((a == NULL) == (report.nerrors > 0) && (a == NULL) == (b == NULL));
    MTA_ASSERT(report.nerrors == again.nerrors && report.nwarnings == again.nwarnings);
    for (size_t i = 0; i < report.n; i++)
        MTA_ASSERT(report.items[i].text[0] != '\0' && fuzz_same(report.items[i].text, again.items[i].text));
    if (a != NULL)
        check_same_conf(a, b);
    conf_unref(&a);
    conf_unref(&b);
    conf_report_clear(&report);
    conf_report_clear(&again);
    conf_machine_clear(&machine);
}

/* ---- show ---- */

static struct slice show(struct slice text, char **memory)
{
    size_t n = 0;
    char *complaints = NULL;
    FILE *out = open_memstream(memory, &n), *err = open_memstream(&complaints, &(size_t){0});

    conf_text = text;
    conf_show(CONF_PATH, CONF_SHOW_SET, NULL, 0, out, err);
    fclose(out);
    fclose(err);
    free(complaints);
    return slice_make(*memory, n);
}

static bool has_line(struct slice text, struct slice line)
{
    while (text.n > 0) {
        size_t eol = slice_find(text, '\n');

        if (slice_eq(slice_head(text, eol), line))
            return true;
        text = slice_from(text, eol + 1);
    }
    return false;
}

/*
 * Each line of `shown` is a line of `other`. Names that the user made up are shown only while something uses them, so
 * that the second time there may be fewer.
 */
static void check_lines(struct slice shown, struct slice other, bool parameters_only)
{
    while (shown.n > 0) {
        size_t eol = slice_find(shown, '\n');
        struct slice line = slice_head(shown, eol);
        char *name = mem_dup(line.p, slice_find(line, ' '));

        if (!parameters_only || conf_row_find(name) != NULL)
            MTA_ASSERT(has_line(other, line));
        mem_free(name);
        shown = slice_from(shown, eol + 1);
    }
}

static void check_show(struct slice text)
{
    char *first, *second;
    struct slice shown = show(text, &first), again = show(shown, &second);

    check_lines(again, shown, false);
    check_lines(shown, again, true);
    free(first);
    free(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_make(data, size);
    unsigned options = fuzz_byte(&in);
    struct conf_source source = {.path = NULL}, again = {.path = NULL};
    struct conf_report report = {.n = 0}, none = {.n = 0};
    struct buf text = {.max = 0};

    in_test = true;
    conf_parse_text(in, CONF_PATH, &source, &report);
    print_source(&text, &source);
    conf_parse_text(buf_slice(&text), CONF_PATH, &again, &none);
    MTA_ASSERT(none.n == 0);
    check_same_source(&source, &again);
    if (options & OPTION_SNAPSHOT)
        check_snapshots(&source, &again);
    if (options & OPTION_SHOW)
        check_show(buf_slice(&text));
    conf_source_clear(&source);
    conf_source_clear(&again);
    conf_report_clear(&report);
    buf_release(&text);
    in_test = false;
    return 0;
}
