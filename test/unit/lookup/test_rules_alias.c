/* Alias expansion: lookup/rules_alias. */
#include "core/base/assert.h"
#include "support/rules_fixture.h"

#include <stdlib.h>

#define RCPTS_MAX 1200

struct expansion {
    struct envelope envelope;
    struct envelope_rcpt rcpts[RCPTS_MAX];
    struct arena arena;
    struct buf text;
};

/* A message to a list of addresses separated by blanks. */
static void address(struct expansion *e, const char *list)
{
    struct slice rest = slice_str(list), item;

    e->envelope.rcpts = e->rcpts;
    e->envelope.nrcpts = 0;
    while ((item = slice_token(&rest, " ")).n > 0)
        e->rcpts[e->envelope.nrcpts++] = (struct envelope_rcpt){.addr = arena_slice_dup(&e->arena, item)};
}

/* The recipients as "addr(orig)" separated by blanks, without "(orig)" where there is none. */
static const char *recipients(struct expansion *e)
{
    buf_clear(&e->text);
    for (size_t i = 0; i < e->envelope.nrcpts; i++) {
        const struct envelope_rcpt *r = &e->envelope.rcpts[i];

        buf_printf(&e->text, "%s%s", i ? " " : "", r->addr);
        if (r->orig != NULL)
            buf_printf(&e->text, "(%s)", r->orig);
    }
    return buf_cstr(&e->text);
}

static void expansion_end(struct expansion *e)
{
    arena_clear(&e->arena);
    buf_release(&e->text);
}

static void expand(struct rules_fixture *f, struct expansion *e)
{
    buf_clear(&f->log);
    rules_expand(f->rules, &f->look.scope, &e->envelope, &e->arena, rules_fixture_on_status, f);
    rules_fixture_run(f);
}

static void assert_expands(struct rules_fixture *f, const char *from, const char *to)
{
    struct expansion *e = NEW(struct expansion);

    address(e, from);
    expand(f, e);
    if (strcmp(buf_cstr(&f->answer), "OK") != 0 || strcmp(recipients(e), to) != 0)
        fail_msg("%s: %s, %s, wanted %s", from, buf_cstr(&f->answer), recipients(e), to);
    expansion_end(e);
    mem_free(e);
}

static void assert_fails(struct rules_fixture *f, const char *from, const char *reply)
{
    struct expansion *e = NEW(struct expansion);

    address(e, from);
    expand(f, e);
    assert_string_equal(buf_cstr(&f->answer), reply);
    assert_string_equal(recipients(e), from);
    assert_ptr_equal(e->envelope.rcpts, e->rcpts);
    expansion_end(e);
    mem_free(e);
}

#define ALIAS_ERROR "451 4.6.0 Alias expansion error"
#define TEMPFAIL    "451 4.3.0 Temporary lookup failure"

static struct fake_table *open_aliases(struct rules_fixture *f, const char *const *pairs)
{
    struct fake_table *t = rules_fixture_table(f, "fake:v", pairs);

    f->conf.virtual_alias_maps = "fake:v";
    rules_fixture_open(f);
    return t;
}

static void expands(void **state)
{
    static const char *const pairs[] = {
        "a@x",      "b@y",
        "list@x",   "a@x, c@z, D@Z",
        "chain1@x", "chain2@x",
        "chain2@x", "chain3@x, left@x",
        "chain3@x", "end@x",
        "left@x",   "left1@x left2@x",
        "copy@x",   "copy@x, keep@y",
        "copy2@x",  "keep@y, COPY2@x",
        "bare@x",   "user",
        "named@x",  "\"Doe, J.\" <j@x>, (none) k@x",
        "quoted@x", "\"john doe\"@x",
        "moved@x",  "@other",
        "moved2@x", "@other, third@x",
        "dot@x",    "d@x.",
        "root",     "admin@y",
        "@all",     "one@y",
        "@self",    "admin@self",
        "@renamed", "@all2",
        NULL,
    };
    static const struct {
        const char *from, *to;
    } cases[] = {
        {"nobody@x", "nobody@x"},
        {"a@x", "b@y(a@x)"},
        {"A@X", "b@y(A@X)"},
        /* the left-most result is expanded in its place, the others go to the end */
        {"list@x", "b@y(list@x) c@z(list@x) D@Z(list@x)"},
        {"chain1@x", "end@x(chain1@x) left1@x(chain1@x) left2@x(chain1@x)"},
        /* an address among its own results stays */
        {"copy@x", "copy@x keep@y(copy@x)"},
        {"Copy@x", "copy@x(Copy@x) keep@y(Copy@x)"},
        {"copy2@x", "keep@y(copy2@x) COPY2@x(copy2@x)"},
        /* results are completed */
        {"bare@x", "user@origin.example(bare@x)"},
        {"named@x", "j@x(named@x) k@x(named@x)"},
        {"quoted@x", "john doe@x(quoted@x)"},
        {"moved@x", "moved@other(moved@x)"},
        {"moved2@x", "moved2@other(moved2@x) third@x(moved2@x)"},
        {"dot@x", "d@x(dot@x)"},
        {"any@all", "one@y(any@all)"},
        {"any@self", "admin@self(any@self)"},
        {"admin@self", "admin@self"},
        {"any@renamed", "any@all2(any@renamed)"},
        /* "user" alone: only where the domain is ours */
        {"root@local.example", "admin@y(root@local.example)"},
        {"root@[192.0.2.1]", "admin@y(root@[192.0.2.1])"},
        {"root@origin.example", "admin@y(root@origin.example)"},
        {"root", "admin@y(root)"},
        {"root@box.example", "root@box.example"},
        /* recipients are completed too */
        {"postmaster", "postmaster@origin.example(postmaster)"},
        {"e@x.", "e@x(e@x.)"},
        /* several recipients, in order */
        {"n@x a@x m@x", "n@x b@y(a@x) m@x"},
        {"", ""},
    };
    struct rules_fixture *f = *state;

    open_aliases(f, pairs);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_expands(f, cases[i].from, cases[i].to);
}

static void without_aliases_recipients_are_only_completed(void **state)
{
    struct rules_fixture *f = *state;

    rules_fixture_open(f);
    assert_expands(f, "a@x postmaster b@x", "a@x postmaster@origin.example(postmaster) b@x");
    assert_expands(f, "a@x b@x A@X", "a@x b@x");
}

static void extensions(void **state)
{
    static const char *const pairs[] = {
        "a@x",       "b@y, c+own@y, \"d e\"@y, bare",
        "a+exact@x", "exact@y",
        "moved@x",   "@other",
        "twice@x",   "mid@x",
        "mid@x",     "end@x",
        "@catch",    "one@y",
        "@swap",     "@swapped",
        NULL,
    };
    struct rules_fixture *f = *state;

    open_aliases(f, pairs);
    assert_expands(f, "a+e@x", "b+e@y(a+e@x) c+own+e@y(a+e@x) d e+e@y(a+e@x) bare+e@origin.example(a+e@x)");
    assert_expands(f, "a+exact@x", "exact@y(a+exact@x)");
    assert_expands(f, "moved+e@x", "moved+e@other(moved+e@x)");
    assert_expands(f, "twice+e@x", "end+e@x(twice+e@x)");
    assert_expands(f, "u+e@catch", "one@y(u+e@catch)");
    assert_expands(f, "u+e@swap", "u+e@swapped(u+e@swap)");
    f->conf.propagate_unmatched_extensions = "canonical";
    rules_fixture_open(f);
    assert_expands(f, "a+e@x", "b@y(a+e@x) c+own@y(a+e@x) d e@y(a+e@x) bare@origin.example(a+e@x)");
    assert_expands(f, "moved+e@x", "moved@other(moved+e@x)");
    assert_expands(f, "u+e@swap", "u+e@swapped(u+e@swap)");
    f->conf.recipient_delimiter = "";
    rules_fixture_open(f);
    assert_expands(f, "a+e@x", "a+e@x");
}

static void loops_are_named(void **state)
{
    static const char *const pairs[] = {
        "a@x",
        "b@x",
        "b@x",
        "A@x",
        "p@x",
        "safe@x, q@x",
        "q@x",
        "other@x, r@x",
        "r@x",
        "third@x, p@x",
        "in@x",
        "a@x",
        /* not loops: the address that comes again has become final by then */
        "s@x",
        "t@x",
        "t@x",
        "s@x, t@x",
        "m@x",
        "m@x, n@x",
        "n@x",
        "m@x, o@x",
        NULL,
    };
    struct rules_fixture *f = *state;

    open_aliases(f, pairs);
    assert_fails(f, "a@x", "451 4.6.0 alias loop: a@x -> b@x -> A@x");
    assert_fails(f, "in@x", "451 4.6.0 alias loop: a@x -> b@x -> A@x");
    assert_fails(f, "p@x", "451 4.6.0 alias loop: p@x -> q@x -> r@x -> p@x");
    assert_fails(f, "good@x a@x", "451 4.6.0 alias loop: a@x -> b@x -> A@x");
    assert_int_equal(f->reason, STATUS_ALIAS_ERROR);
    assert_expands(f, "s@x", "t@x(s@x)");
    assert_expands(f, "m@x", "m@x o@x(m@x)");
}

static void a_long_loop_is_cut(void **state)
{
    struct rules_fixture *f = *state;
    struct arena arena = {0};
    const char *pairs[2 * 60 + 1] = {0};
    struct expansion *e = NEW(struct expansion);
    struct status status;

    for (int i = 0; i < 60; i++) {
        pairs[2 * i] = arena_printf(&arena, "address-number-%d@x", i);
        pairs[2 * i + 1] = arena_printf(&arena, "address-number-%d@x", (i + 1) % 60);
    }
    open_aliases(f, pairs);
    address(e, "address-number-0@x");
    expand(f, e);
    assert_int_equal(f->reason, STATUS_ALIAS_ERROR);
    assert_non_null(strstr(buf_cstr(&f->answer), "alias loop: "));
    assert_true(buf_len(&f->answer) < sizeof status.text + 10);
    expansion_end(e);
    mem_free(e);
    arena_clear(&arena);
}

/* A chain of `n` aliases c0 -> c1 -> ..., each named "c<i>@x". */
static const char **chain(struct arena *arena, int n)
{
    const char **pairs = arena_new_array(arena, (size_t)n * 2 + 1, sizeof *pairs);

    for (int i = 0; i < n; i++) {
        pairs[2 * i] = arena_printf(arena, "c%d@x", i);
        pairs[2 * i + 1] = arena_printf(arena, "c%d@x", i + 1);
    }
    return pairs;
}

static void nesting_is_limited(void **state)
{
    struct rules_fixture *f = *state;
    struct arena arena = {0};

    f->conf.virtual_alias_recursion_limit = 10;
    open_aliases(f, chain(&arena, 10));
    assert_fails(f, "c0@x", ALIAS_ERROR);
    assert_expands(f, "c1@x", "c10@x(c1@x)");
    arena_clear(&arena);
}

/* Along the left branch only: what is appended begins to count anew. */
static void nesting_counts_along_the_left_branch(void **state)
{
    static const char *const pairs[] = {"a@x", "end@x, b@x", "b@x", "end@x, c@x", "c@x", "end@x, d@x", NULL};
    struct rules_fixture *f = *state;

    f->conf.virtual_alias_recursion_limit = 2;
    open_aliases(f, pairs);
    assert_expands(f, "a@x", "end@x(a@x) d@x(a@x)");
}

static void the_number_of_addresses_is_limited(void **state)
{
    static const char *const pairs[] = {"five@x",  "a1@x,a2@x,a3@x,a4@x,a5@x",
                                        "six@x",   "a1@x,a2@x,a3@x,a4@x,a5@x,a6@x",
                                        "sum@x",   "a1@x,a2@x,three@x",
                                        "three@x", "b1@x,b2@x,b3@x",
                                        "sum2@x",  "sum@x,c@x",
                                        "grow@x",  "leaf@x, grow2@x, grow3@x",
                                        NULL};
    struct rules_fixture *f = *state;

    f->conf.virtual_alias_expansion_limit = 5;
    open_aliases(f, pairs);
    assert_expands(f, "five@x", "a1@x(five@x) a2@x(five@x) a3@x(five@x) a4@x(five@x) a5@x(five@x)");
    assert_fails(f, "six@x", ALIAS_ERROR);
    assert_expands(f, "sum@x", "a1@x(sum@x) a2@x(sum@x) b1@x(sum@x) b2@x(sum@x) b3@x(sum@x)");
    assert_fails(f, "sum2@x", ALIAS_ERROR);
    /* the limit is of each recipient, not of the message */
    assert_expands(f, "five@x three@x",
                   "a1@x(five@x) a2@x(five@x) a3@x(five@x) a4@x(five@x) a5@x(five@x) b1@x(three@x) b2@x(three@x) "
                   "b3@x(three@x)");
}

static void the_length_of_addresses_is_limited(void **state)
{
    static const char *const pairs[] = {"a@x", "1234567@x", "b@x", "12345678@x", "c@x", "12345@x", NULL};
    struct rules_fixture *f = *state;

    f->conf.virtual_alias_address_length_limit = 9;
    open_aliases(f, pairs);
    assert_expands(f, "a@x", "1234567@x(a@x)");
    assert_fails(f, "b@x", ALIAS_ERROR);
    assert_expands(f, "c+e@x", "12345+e@x(c+e@x)");
    assert_fails(f, "c+ext@x", ALIAS_ERROR);
}

/* "a+e" is looked up without its extension, which makes the result longer each time. */
static void growth_without_end_is_stopped(void **state)
{
    static const char *const pairs[] = {"a@x", "a+e@x", NULL};
    struct rules_fixture *f = *state;

    open_aliases(f, pairs);
    assert_fails(f, "a@x", ALIAS_ERROR);
}

static void memory_is_bounded_whatever_the_limits_say(void **state)
{
    struct rules_fixture *f = *state;
    struct buf many = {0};
    const char *pairs[3] = {0};

    for (int i = 0; i < 100000; i++)
        buf_printf(&many, "%sthe-name-of-address-number-%d@some.example", i ? "," : "", i);
    pairs[0] = "a@x";
    pairs[1] = buf_cstr(&many);
    f->conf.virtual_alias_expansion_limit = 1000000;
    open_aliases(f, pairs);
    assert_fails(f, "a@x", ALIAS_ERROR);
    buf_release(&many);
}

static void results_that_are_no_addresses(void **state)
{
    static const char *const pairs[] = {"empty@x",   "",         "blank@x", " , ",      "bad@x",
                                        "\"open",    "null@x",   "<>",      "second@x", "a@x, @other",
                                        "comment@x", "(nobody)", NULL};
    struct rules_fixture *f = *state;

    open_aliases(f, pairs);
    for (const char *const *pair = pairs; *pair != NULL; pair += 2)
        assert_fails(f, *pair, ALIAS_ERROR);
}

static void a_failure_leaves_the_envelope_alone(void **state)
{
    static const char *const pairs[] = {"a@x", "b@x, c@x", "b@x", "d@x", NULL};
    static const char *const failing[] = {"a@x", "@x", "b@x", "d@x", "c@x", "z@y", "@y"};
    struct rules_fixture *f = *state;
    struct fake_table *t = open_aliases(f, pairs);

    for (size_t i = 0; i < ARRAY_LEN(failing); i++) {
        t->fail = failing[i];
        assert_fails(f, "a@x z@y", TEMPFAIL);
        assert_int_equal(f->reason, STATUS_TABLE_TEMPFAIL);
    }
    t->fail = NULL;
    f->conf.mydestination = "fake:bad";
    rules_fixture_table(f, "fake:bad", NULL)->fail = "*";
    rules_fixture_open(f);
    assert_fails(f, "a@x", TEMPFAIL);
    f->conf.mydestination = "";
    f->conf.virtual_alias_maps = "fake:v hash:/nonexistent/aliases";
    rules_fixture_open(f);
    assert_fails(f, "z@x", TEMPFAIL);
}

static void mydestination_from_a_table_allows_bare_users(void **state)
{
    static const char *const pairs[] = {"root", "admin@y", NULL};
    static const char *const domains[] = {"ours.example", "x", NULL};
    struct rules_fixture *f = *state;

    rules_fixture_table(f, "fake:d", domains);
    f->conf.mydestination = "fake:d";
    open_aliases(f, pairs);
    assert_expands(f, "root@ours.example root@theirs.example", "admin@y(root@ours.example) root@theirs.example");
}

/* ---- duplicates and what the sender asked for ---- */

static void expand_rcpts(struct rules_fixture *f, const struct envelope_rcpt *rcpts, size_t n, const char *want)
{
    struct expansion *e = NEW(struct expansion);

    memcpy(e->rcpts, rcpts, n * sizeof *rcpts);
    e->envelope.rcpts = e->rcpts;
    e->envelope.nrcpts = n;
    e->envelope.sender = "s@z";
    expand(f, e);
    assert_string_equal(buf_cstr(&f->answer), "OK");
    buf_clear(&e->text);
    for (size_t i = 0; i < e->envelope.nrcpts; i++) {
        const struct envelope_rcpt *r = &e->envelope.rcpts[i];

        buf_printf(&e->text, "%s/%s/%s/%u%s ", r->addr, r->orig ? r->orig : "-", r->orcpt ? r->orcpt : "-", r->notify,
                   r->action == ENVELOPE_ACTION_EXPANDED ? "/expanded" : "");
    }
    assert_string_equal(buf_cstr(&e->text), want);
    expansion_end(e);
    mem_free(e);
}

static void duplicates_by_what_they_came_from(void **state)
{
    static const char *const pairs[] = {"a@x", "m@y", "b@x", "m@y, M@Y", NULL};
    static const struct envelope_rcpt rcpts[] = {
        {.addr = "a@x"},
        {.addr = "b@x"},
        {.addr = "A@x"},
        {.addr = "a@x", .notify = ENVELOPE_NOTIFY_NEVER},
        {.addr = "a@x", .orcpt = "rfc822;q@z"},
        {.addr = "a@x"},
    };
    struct rules_fixture *f = *state;

    open_aliases(f, pairs);
    expand_rcpts(f, rcpts, ARRAY_LEN(rcpts), "m@y/a@x/-/0 m@y/b@x/-/0 m@y/a@x/-/1 m@y/a@x/rfc822;q@z/0 ");
    f->conf.enable_original_recipient = false;
    rules_fixture_open(f);
    expand_rcpts(f, rcpts, ARRAY_LEN(rcpts), "m@y/-/-/0 ");
}

static void children_keep_what_the_sender_asked_for(void **state)
{
    static const char *const pairs[] = {"a@x", "b@y, c@y", NULL};
    static const struct envelope_rcpt rcpts[] = {
        {.addr = "a@x", .orcpt = "rfc822;o@z", .notify = ENVELOPE_NOTIFY_DELAY | ENVELOPE_NOTIFY_FAILURE},
        {.addr = "b@y", .orig = "before@w"},
        {.addr = "c@y"},
    };
    struct rules_fixture *f = *state;

    open_aliases(f, pairs);
    expand_rcpts(f, rcpts, ARRAY_LEN(rcpts), "b@y/a@x/rfc822;o@z/12 c@y/a@x/rfc822;o@z/12 b@y/before@w/-/0 c@y/-/-/0 ");
}

/* RFC 3461 section 5.2.7.3, as Postfix does it. */
static void success_is_told_of_the_alias_itself(void **state)
{
    static const char *const pairs[] = {"a@x",    "b@y, c@y", "one@x",      "d@y", "self@x",
                                        "self@x", "both@x",   "both@x e@y", NULL};
    static const struct envelope_rcpt rcpts[] = {
        {.addr = "a@x", .orcpt = "rfc822;o@z", .notify = ENVELOPE_NOTIFY_SUCCESS | ENVELOPE_NOTIFY_FAILURE},
        {.addr = "a@x", .orcpt = "rfc822;o@z", .notify = ENVELOPE_NOTIFY_SUCCESS | ENVELOPE_NOTIFY_FAILURE},
        {.addr = "one@x", .notify = ENVELOPE_NOTIFY_SUCCESS},
        {.addr = "self@x", .notify = ENVELOPE_NOTIFY_SUCCESS},
        {.addr = "both@x", .notify = ENVELOPE_NOTIFY_SUCCESS},
        {.addr = "plain@x", .notify = ENVELOPE_NOTIFY_SUCCESS},
    };
    struct rules_fixture *f = *state;

    open_aliases(f, pairs);
    expand_rcpts(f, rcpts, ARRAY_LEN(rcpts),
                 "a@x/-/rfc822;o@z/6/expanded b@y/a@x/rfc822;o@z/4 c@y/a@x/rfc822;o@z/4 "
                 "one@x/-/-/2/expanded d@y/one@x/-/1 self@x/-/-/2 "
                 "both@x/-/-/2/expanded both@x/-/-/1 e@y/both@x/-/1 plain@x/-/-/2 ");
    f->conf.enable_original_recipient = false;
    rules_fixture_open(f);
    expand_rcpts(f, rcpts, 3,
                 "a@x/-/rfc822;o@z/6/expanded b@y/-/rfc822;o@z/4 c@y/-/rfc822;o@z/4 one@x/-/-/2/expanded d@y/-/-/1 ");
}

/* The recipients a message ends up with do not depend on the order its recipients were given in. */
static void order_does_not_matter(void **state)
{
    static const char *const pairs[] = {"a@x", "b@x, c@x", "b@x", "b@x, d@x", "c@x", "e@x f@x",
                                        "l@x", "a@x, g@x", "g@x", "b@x",      NULL};
    static const char *const all[] = {"a@x", "b@x", "c@x", "d@x", "g@x", "l@x", "z@x"};
    struct rules_fixture *f = *state;
    uint64_t expected = 0;

    open_aliases(f, pairs);
    f->conf.enable_original_recipient = false;
    rules_fixture_open(f);
    srand(7);
    for (int round = 0; round < 40; round++) {
        struct expansion *e = NEW(struct expansion);
        const char *order[ARRAY_LEN(all)];
        uint64_t sum = 0;

        memcpy(order, all, sizeof order);
        for (size_t i = ARRAY_LEN(order); i > 1; i--) {
            size_t j = (size_t)rand() % i;
            const char *swap = order[i - 1];

            order[i - 1] = order[j];
            order[j] = swap;
        }
        e->envelope.rcpts = e->rcpts;
        for (size_t i = 0; i < ARRAY_LEN(order); i++)
            e->rcpts[e->envelope.nrcpts++] = (struct envelope_rcpt){.addr = order[i]};
        expand(f, e);
        assert_int_equal(e->envelope.nrcpts, 5); /* b d e f z */
        for (size_t i = 0; i < e->envelope.nrcpts; i++)
            sum += map_hash(slice_str(e->envelope.rcpts[i].addr));
        if (round == 0)
            expected = sum;
        assert_true(sum == expected);
        expansion_end(e);
        mem_free(e);
    }
}

static void many_recipients(void **state)
{
    struct rules_fixture *f = *state;
    struct expansion *e = NEW(struct expansion);
    struct buf list = {0};
    const char *pairs[3] = {"all@x", NULL, NULL};

    for (int i = 0; i < 500; i++)
        buf_printf(&list, "u%d@y,", i);
    pairs[1] = buf_cstr(&list);
    open_aliases(f, pairs);
    for (size_t i = 0; i < 1000; i++)
        e->rcpts[i] = (struct envelope_rcpt){.addr = i % 500 == 499 ? "all@x" : arena_printf(&e->arena, "r%zu@y", i)};
    e->rcpts[999].orcpt = "rfc822;x";
    e->envelope.rcpts = e->rcpts;
    e->envelope.nrcpts = 1000;
    expand(f, e);
    assert_string_equal(buf_cstr(&f->answer), "OK");
    assert_int_equal(e->envelope.nrcpts, 998 + 2 * 500);
    expansion_end(e);
    mem_free(e);
    buf_release(&list);
}

/* ---- the asker goes ---- */

static void the_asker_may_go_in_the_middle(void **state)
{
    static const char *const pairs[] = {"a@x", "b@x, c@x", "b@x", "d@x", NULL};
    struct rules_fixture *f = *state;
    struct fake_table *t = open_aliases(f, pairs);

    for (int wait = 0; wait < 6; wait++) {
        struct expansion *e = NEW(struct expansion);

        address(e, "a@x z@y");
        t->hang = true;
        rules_expand(f->rules, &f->look.scope, &e->envelope, &e->arena, rules_fixture_on_status, f);
        for (int i = 0; i < wait; i++) {
            loop_run(f->look.loop);
            fake_release(t);
        }
        op_scope_cancel(&f->look.scope);
        /* what it asked about is gone with it */
        expansion_end(e);
        mem_free(e);
        buf_clear(&f->log);
        t->hang = false;
        fake_release(t);
        loop_run(f->look.loop);
        assert_int_equal(op_live(f->look.loop), 0);
        assert_int_equal(f->look.calls, 0);
        assert_null(strstr(buf_cstr(&f->log), "z@y")); /* it went no further */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULES_TEST(expands),
        RULES_TEST(without_aliases_recipients_are_only_completed),
        RULES_TEST(extensions),
        RULES_TEST(loops_are_named),
        RULES_TEST(a_long_loop_is_cut),
        RULES_TEST(nesting_is_limited),
        RULES_TEST(nesting_counts_along_the_left_branch),
        RULES_TEST(the_number_of_addresses_is_limited),
        RULES_TEST(the_length_of_addresses_is_limited),
        RULES_TEST(growth_without_end_is_stopped),
        RULES_TEST(memory_is_bounded_whatever_the_limits_say),
        RULES_TEST(results_that_are_no_addresses),
        RULES_TEST(a_failure_leaves_the_envelope_alone),
        RULES_TEST(mydestination_from_a_table_allows_bare_users),
        RULES_TEST(duplicates_by_what_they_came_from),
        RULES_TEST(children_keep_what_the_sender_asked_for),
        RULES_TEST(success_is_told_of_the_alias_itself),
        RULES_TEST(order_does_not_matter),
        RULES_TEST(many_recipients),
        RULES_TEST(the_asker_may_go_in_the_middle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
