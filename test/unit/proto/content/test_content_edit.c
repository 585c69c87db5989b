/* Content edited while it goes by: proto/content/content_edit. Fed whole, in bytes, and in random pieces. */
#include "core/base/assert.h"
#include "proto/content/content_edit.h"
#include "support/fake_table.h"

#include <stdio.h>
#include <stdlib.h>

struct world {
    struct look look;
    struct content_edit_config config;
    struct maps *maps[4];
    struct content_edit *edit;
    struct buf out, said;
    const char *failed;
    char why[100];
    bool ready;
};

static void on_write(void *arg, struct slice bytes)
{
    buf_add_slice(&((struct world *)arg)->out, bytes);
}

static void on_action(void *arg, enum content_action action, const char *where, struct slice unit, const char *text)
{
    buf_printf(&((struct world *)arg)->said, "%s: %s %.*s: %s|", content_action_name(action), where, (int)unit.n,
               unit.p, text);
}

static void on_ready(void *arg)
{
    struct world *w = arg;

    w->ready = true;
    loop_stop(w->look.loop);
}

static void on_failed(void *arg, const char *why)
{
    struct world *w = arg;

    snprintf(w->why, sizeof w->why, "%s", why);
    w->failed = w->why;
    loop_stop(w->look.loop);
}

static const struct content_edit_events events = {on_write, on_action, on_ready, on_failed};

/* a@old.example -> a@new.example, bare -> bare@new.example, odd@x.example -> odd one@x.example; by an op. */
struct rewriting {
    struct op op;
    char text[100];
    struct table_answer failure;
};

static void rewriting_release(struct op *op)
{
    mem_free(op);
}

static void rewrite(void *arg, struct op_scope *scope, const char *address, bool sender, op_done_fn *done, void *owner)
{
    struct world *w = arg;
    struct rewriting *r = NEW(struct rewriting);
    const char *at = strchr(address, '@');

    op_start(&r->op, w->look.loop, scope, "rewrite", 0, done, owner, rewriting_release);
    if (strcmp(address, "broken@x.example") == 0) {
        r->failure.why = "no database";
        op_finish(&r->op, OP_TEMPFAIL, &r->failure);
        return;
    }
    if (at == NULL)
        snprintf(r->text, sizeof r->text, "%s@new.example", address);
    else if (strcmp(at, "@old.example") == 0)
        snprintf(r->text, sizeof r->text, "%.*s@%s.example", (int)(at - address), address, sender ? "from" : "new");
    else if (strcmp(address, "odd@x.example") == 0)
        snprintf(r->text, sizeof r->text, "odd one@x.example");
    else
        snprintf(r->text, sizeof r->text, "%s", address);
    op_finish(&r->op, OP_OK, r->text);
}

static int setup(void **state)
{
    struct world *w = NEW(struct world);

    look_open(&w->look);
    w->config = (struct content_edit_config){
        .header_size_limit = 1000, .body_checks_size_limit = 100, .line_length_limit = 80, .mime_nesting_limit = 10};
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    content_edit_free(&w->edit);
    for (size_t i = 0; i < 4; i++)
        maps_free(&w->maps[i]);
    look_close(&w->look);
    buf_release(&w->out);
    buf_release(&w->said);
    mem_free(w);
    return 0;
}

static const struct maps *table(struct world *w, size_t i, const char *name, const char *const *pairs)
{
    fake_add(w->look.tables, name, pairs);
    maps_free(&w->maps[i]);
    w->maps[i] = maps_new(w->look.tables, name, &w->look.err);
    assert_non_null(w->maps[i]);
    return w->maps[i];
}

static void wait_for(struct world *w, bool done)
{
    w->ready = false;
    if (done)
        return;
    assert_true(content_edit_busy(w->edit));
    while (!w->ready && w->failed == NULL)
        loop_run(w->look.loop);
    assert_false(content_edit_busy(w->edit));
}

static void edit(struct world *w, const char *content, size_t piece)
{
    struct op_scope outer;
    struct slice rest = slice_str(content);

    op_scope_init(&outer, "test");
    content_edit_free(&w->edit);
    buf_clear(&w->out);
    buf_clear(&w->said);
    w->failed = NULL;
    w->edit = content_edit_new(&w->config, &events, w, &outer);
    while (rest.n > 0 && w->failed == NULL) {
        size_t n = piece > 0 ? piece : 1 + (size_t)rand() % 30;

        wait_for(w, content_edit_feed(w->edit, slice_head(rest, n)));
        rest = slice_from(rest, n < rest.n ? n : rest.n);
    }
    if (w->failed == NULL)
        wait_for(w, content_edit_end(w->edit));
    op_scope_close(&outer);
}

/* However the content comes, the same comes out. */
static void assert_edits(struct world *w, const char *content, const char *want, const char *said)
{
    static const size_t pieces[] = {1000000, 1, 7, 0, 0, 0};

    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        edit(w, content, pieces[i]);
        if (strcmp(buf_cstr(&w->out), want) != 0)
            fail_msg("in pieces of %zu:\n%s\n-- wanted --\n%s", pieces[i], buf_cstr(&w->out), want);
        if (strcmp(buf_cstr(&w->said), said) != 0)
            fail_msg("in pieces of %zu said:\n%s\n-- wanted --\n%s", pieces[i], buf_cstr(&w->said), said);
        assert_null(w->failed);
    }
}

static void header_checks(void **state)
{
    static const char *const checks[] = {"subject: spam",
                                         "REJECT 5.7.1 no spam",
                                         "x-drop: folded\n\tby two",
                                         "IGNORE",
                                         "x-old: 1",
                                         "REPLACE X-New: 2",
                                         "x-top: 1",
                                         "PREPEND X-Above: 1",
                                         "x-warn: 1",
                                         "WARN what is this",
                                         "x-strip: 1",
                                         "STRIP and say so",
                                         "x-fine: 1",
                                         "DUNNO",
                                         "x-odd: 1",
                                         "FROBNICATE it",
                                         "x-to: 1",
                                         "REDIRECT a@b.example",
                                         NULL};
    struct world *w = *state;

    w->config.header_checks = table(w, 0, "fake:h", checks);
    assert_true(content_edit_wanted(&w->config));
    assert_edits(
        w, "A: b\nX-Drop: folded\n\tby two\nX-Old: 1\nX-Top: 1\nX-Warn: 1\nX-Strip: 1\nX-Fine: 1\n\nX-Old: 1\nbody\n",
        "A: b\nX-New: 2\nX-Above: 1\nX-Top: 1\nX-Warn: 1\nX-Fine: 1\n\nX-Old: 1\nbody\n",
        "replace: header X-Old: 1: X-New: 2|prepend: header X-Top: 1: X-Above: 1|warning: header X-Warn: 1: what is "
        "this|strip: header X-Strip: 1: and say so|");
    assert_edits(w, "Subject: spam\nX-Old: 1\n\n", "Subject: spam\nX-Old: 1\n\n",
                 "reject: header Subject: spam: 5.7.1 no spam|");
    assert_edits(w, "X-Odd: 1\nX-To: 1\n", "X-Odd: 1\nX-To: 1\n",
                 "warning: header X-Odd: 1: FROBNICATE it|redirect: header X-To: 1: a@b.example|");
    w->config.changes_only = true;
    assert_edits(
        w, "Subject: spam\nX-Old: 1\nX-To: 1\n\n", "Subject: spam\nX-New: 2\nX-To: 1\n\n",
        "warning: header Subject: spam: REJECT 5.7.1 no spam|replace: header X-Old: 1: X-New: 2|warning: header "
        "X-To: 1: REDIRECT a@b.example|");
    w->config.changes_only = false;
    assert_edits(w, "", "", "");
    assert_edits(w, "\n", "\n", "");
    assert_edits(w, "no header at all\nX-Old: 1\n", "no header at all\nX-Old: 1\n", "");
    assert_edits(w, "A: no line end", "A: no line end\n", "");
}

static void parts_and_bodies(void **state)
{
    static const char *const headers[] = {
        "x-h: 1", "WARN primary", "content-type: text/x", "WARN never", "x-n: 1", "WARN never", NULL};
    static const char *const mime[] = {"content-type: text/x", "WARN mime", "x-h: 1", "WARN part", NULL};
    static const char *const nested[] = {"x-n: 1", "IGNORE", NULL};
    static const char *const body[] = {"evil line", "REPLACE good line", "out", "IGNORE", "x-h: 1", "WARN body", NULL};
    struct world *w = *state;

    w->config.header_checks = table(w, 0, "fake:h", headers);
    w->config.mime_header_checks = table(w, 1, "fake:m", mime);
    w->config.nested_header_checks = table(w, 2, "fake:n", nested);
    w->config.body_checks = table(w, 3, "fake:b", body);
    assert_edits(
        w,
        "X-H: 1\nContent-Type: multipart/a; boundary=x\n\npreamble\n--x\nContent-Type: text/x\nX-H: 1\n\nevil "
        "line\nout\nX-H: 1\n--x\nContent-Type: message/rfc822\n\nX-N: 1\nA: b\n\nout\n--x--\nout\nend\n",
        "X-H: 1\nContent-Type: multipart/a; boundary=x\n\npreamble\n--x\nContent-Type: text/x\nX-H: 1\n\ngood "
        "line\nX-H: 1\n--x\nContent-Type: message/rfc822\n\nA: b\n\n--x--\nend\n",
        "warning: header X-H: 1: primary|warning: mime-header Content-Type: text/x: mime|warning: mime-header X-H: 1: "
        "part|replace: body evil line: good line|warning: body X-H: 1: body|");
}

/* Only the beginning of each part's body is looked at; long lines by their beginning. */
static void bodies_are_looked_at_in_bounds(void **state)
{
    static const char *const body[] = {
        "evil", "IGNORE", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "IGNORE",
        NULL};
    struct world *w = *state;
    char content[400] = "\nevil\n", want[400] = "\n";

    w->config.body_checks = table(w, 3, "fake:b", body);
    for (int i = 0; i < 10; i++) {
        strcat(content, "0123456789\n");
        strcat(want, "0123456789\n");
    }
    strcat(content, "evil\n");
    strcat(want, "evil\n");
    assert_edits(w, content, want, "");
    w->config.header_size_limit = 120; /* how much of a line is waited for */
    memset(content, 'a', 300);
    strcpy(content + 300, "\nb\n");
    memmove(content + 1, content, strlen(content) + 1);
    content[0] = '\n';
    assert_edits(w, content, "\nb\n", "");
}

static void long_headers(void **state)
{
    static const char *const checks[] = {"x: aaaaaaaaaaaaaaaa\n bbbbbbbbbbbbbbbb", "IGNORE", NULL};
    struct world *w = *state;
    const char *kept = "Y: aaaaaaaaaaaaaaaa\n bbbbbbbbbbbbbbbb\n cccccccccccccccccccc\n dd\nE: f\n\nbody\n";

    w->config.header_checks = table(w, 0, "fake:h", checks);
    w->config.header_size_limit = 30;
    assert_edits(w, "X: aaaaaaaaaaaaaaaa\n bbbbbbbbbbbbbbbb\n cccccccccccccccccccc\n dd\nE: f\n\nbody\n",
                 "E: f\n\nbody\n", "");
    assert_edits(w, kept, kept, "");
}

static void addresses(void **state)
{
    struct world *w = *state;

    w->config.rewrite = rewrite;
    assert_edits(
        w,
        "From: \"A (old) <x@old.example>\" <a@old.example>\nTo: b@old.example (B), bare,\n\tGroup: c@y.example;\n"
        "Cc: odd@x.example\nSubject: a@old.example\nSender: <>\n\nTo: a@old.example\n",
        "From: \"A (old) <x@old.example>\" <a@from.example>\nTo: b@new.example (B), bare@new.example,\n\tGroup: "
        "c@y.example;\nCc: \"odd one\"@x.example\nSubject: a@old.example\nSender: <>\n\nTo: a@old.example\n",
        "");
    edit(w, "To: broken@x.example\n\nbody\n", 1000);
    assert_string_equal(w->failed, "no database");
    assert_string_equal(buf_cstr(&w->out), "");
}

static void a_table_fails_or_the_asker_goes(void **state)
{
    struct world *w = *state;
    struct fake_table *t;
    struct op_scope outer;

    w->config.header_checks = table(w, 0, "fake:h", NULL);
    t = fake_add(w->look.tables, "fake:x", NULL);
    t->fail = "a: b";
    maps_free(&w->maps[0]);
    w->config.header_checks = w->maps[0] = maps_new(w->look.tables, "fake:x", &w->look.err);
    edit(w, "C: d\nA: b\n\nbody\n", 1000);
    assert_string_equal(w->failed, "fake failure");
    t->hang = true;
    content_edit_free(&w->edit);
    op_scope_init(&outer, "test");
    w->edit = content_edit_new(&w->config, &events, w, &outer);
    assert_false(content_edit_feed(w->edit, SLICE_LIT("A: b\n\n")));
    content_edit_free(&w->edit);
    op_scope_close(&outer);
    fake_release(t);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(header_checks), TEST(parts_and_bodies), TEST(bodies_are_looked_at_in_bounds),
        TEST(long_headers),  TEST(addresses),        TEST(a_table_fails_or_the_asker_goes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
