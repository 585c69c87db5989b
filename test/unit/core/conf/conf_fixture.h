/* A configuration from text on a machine that is always the same: mail.example.org with two addresses of each family.
 */
#ifndef MTA_TEST_CONF_FIXTURE_H
#define MTA_TEST_CONF_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/base/assert.h"
#include "core/conf/conf_int.h"

#include <stdio.h>
#include <string.h>

struct fixture {
    struct conf_source source;
    struct conf_machine machine;
    struct conf_report report;
    const struct conf *conf; /* NULL when there are errors */
};

static inline void fixture_machine(struct conf_machine *m, const char *hostname)
{
    static const struct {
        const char *text;
        unsigned prefix;
    } addresses[] = {{"127.0.0.1", 8}, {"192.0.2.77", 25}, {"::1", 128}, {"2001:db8::7", 64}};

    m->hostname = hostname;
    m->have_ipv6 = true;
    for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
        struct conf_address a;

        assert_true(conf_address_parse(slice_str(addresses[i].text), &a));
        a.prefix = addresses[i].prefix;
        conf_machine_add(m, &a);
    }
}

static inline void fixture_open(struct fixture *f, const char *text)
{
    *f = (struct fixture){0};
    fixture_machine(&f->machine, "mail.example.org");
    conf_parse_text(slice_str(text), "t.conf", &f->source, &f->report);
    f->conf = conf_build_snapshot(&f->source, &f->machine, &f->report);
}

/* The same of a directory DIR with Postfix's two files; main.cf has in front what every one needs. */
static inline void fixture_open_postfix(struct fixture *f, const char *main_cf, const char *master_cf)
{
    struct buf text = {0};

    buf_printf(&text, "compatibility_level = 3.6\n%s", main_cf);
    *f = (struct fixture){0};
    fixture_machine(&f->machine, "mail.example.org");
    conf_parse_postfix(buf_slice(&text), slice_str(master_cf), "DIR/", &f->source, &f->report);
    f->conf = conf_build_snapshot(&f->source, &f->machine, &f->report);
    buf_release(&text);
}

/* The same for a text that must have no errors. */
static inline void fixture_open_good(struct fixture *f, const char *text)
{
    fixture_open(f, text);
    if (f->conf == NULL)
        conf_report_print(&f->report, stderr);
    assert_non_null(f->conf);
}

static inline void fixture_close(struct fixture *f)
{
    conf_unref(&f->conf);
    conf_report_clear(&f->report);
    conf_machine_clear(&f->machine);
    conf_source_clear(&f->source);
}

/* Is there exactly this complaint, "LINE: error: TEXT"? Prints all when not. */
static inline void fixture_expect(const struct fixture *f, const char *wanted)
{
    char have[2000];

    for (size_t i = 0; i < f->report.n; i++) {
        const struct conf_complaint *c = &f->report.items[i];

        snprintf(have, sizeof have, "%d: %s: %s", c->line, c->severity == CONF_SEVERITY_ERROR ? "error" : "warning",
                 c->text);
        if (strcmp(have, wanted) == 0)
            return;
    }
    fprintf(stderr, "wanted: %s\nthere is:\n", wanted);
    conf_report_print(&f->report, stderr);
    fail();
}

#endif
