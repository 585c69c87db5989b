/*
 * What the tests of delivery reports share: a set-up in which mail fails, is delayed or arrives, and looks at the
 * reports. Each test program includes it once.
 */
#ifndef TEST_DELIVERY_BOUNCE_FIXTURE_H
#define TEST_DELIVERY_BOUNCE_FIXTURE_H

#include "fixture.h"

#define CONTENT "Subject: the original\nX-A: b\n c\n\nbody line\nFrom me\n"

/* s@w.test has a mailbox (a file); everybody @v.test fails. */
#define CONF                                                                                                           \
    "transport_maps = inline:{{v.test = error:5.1.1 no such user here} {d.test = discard:} {l.test = retry:}}\n"       \
    "virtual_alias_maps = inline:{{alias@w.test = s@w.test, t@w.test}}\n"

static inline const char *conf_with(const char *main)
{
    static char text[1000];

    snprintf(text, sizeof text, CONF "%s", main);
    return pipe_conf(text, "flags = R\nargv = %DIR%/command ${user}\n");
}

static inline void start(struct fixture *f, const char *main)
{
    make_command(f, "cat >report.$1");
    fixture_start(f, conf_with(main));
}

static inline void fail_for(struct fixture *f, struct envelope *e, const char *content)
{
    static struct envelope_rcpt to;

    if (e->rcpts == NULL) {
        to = (struct envelope_rcpt){.addr = "a@v.test"};
        e->rcpts = &to;
        e->nrcpts = 1;
    }
    queue_message(f, e, slice_str(content));
}

static inline char *report(const struct fixture *f, const char *user)
{
    char name[50];
    char *text;

    snprintf(name, sizeof name, "out/report.%s", user);
    text = read_file(path_in(f, name), NULL);
    assert_non_null(text);
    return text;
}

static inline void has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" is not in\n%s", part, text);
}

/* The queue is empty afterwards: run again, nothing comes. */
static inline void check_nothing_left(struct fixture *f)
{
    fixture_stop(f);
    f->nresults = 0;
    fixture_start(f, conf_with(""));
    queue_text(f, "", "x@d.test", CONTENT);
    run_until(f, 1);
    assert_string_equal(f->results[0].addr, "x@d.test");
}

static inline size_t count(const char *text, const char *part)
{
    size_t n = 0;

    for (const char *at = text; (at = strstr(at, part)) != NULL; at++)
        n++;
    return n;
}

#endif
