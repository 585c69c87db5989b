/* Command lines of pipe transports: arguments, macros, repetition, folding; most rows are what Postfix 3.7 did. */
#include "unit/cmocka_all.h"

#include "core/base/assert.h"
#include "core/conf/conf.h"
#include "core/queue/envelope.h"
#include "delivery/pipe_args.h"

#define H CONF_PIPE_FLAG_FOLD_DOMAIN
#define U CONF_PIPE_FLAG_FOLD_USER
#define Q CONF_PIPE_FLAG_QUOTE

static const struct envelope_rcpt one[] = {{.addr = "User+Ext@Dom.Test", .orig = "Alias@Other.Test"}};
static const struct envelope_rcpt three[] = {{.addr = "u+e@m.test"}, {.addr = "v@m.test"}, {.addr = "w+@m.test"}};
static const struct envelope_rcpt odd[] = {{.addr = "a b+C@HQ.test"}};
static const struct envelope_rcpt at[] = {{.addr = "a@b@HQ.test"}};
static const struct envelope_rcpt bare[] = {{.addr = "Root+x"}};
static const struct envelope_rcpt empty_user[] = {{.addr = "@v.test"}};
static const struct envelope_rcpt postmaster[] = {{.addr = "postmaster+x@v.test"}};

static const struct {
    const char *argv;
    unsigned flags;
    const char *sender;
    const struct envelope_rcpt *rcpts;
    size_t nrcpts;
    const char *expected; /* each argument in <> */
} rows[] = {
    /* words and groups */
    {"/bin/x a  b\tc\n d", 0, "s@x", one, 1, "</bin/x><a><b><c><d>"},
    {"x { two words } {  } \"q q\" \\x a{b c}d", 0, "s@x", one, 1, "<x><two words><><\"q><q\"><\\x><a{b c}d>"},
    {"x ${user}x{y} {a{b}c} { ${user} $extension. }", 0, "s@x", one, 1, "<x><Userx{y}><a{b}c><User Ext.>"},
    {"x z{ x$user@$domain $$$$ ${user}_x", 0, "s@x", one, 1, "<x><z{ xUser@Dom.Test $$ User_x>"},
    {"x } a}b", 0, "s@x", one, 1, "<x><}><a}b>"},
    {"x $$", 0, "s@x", one, 1, "<x><$>"},
    {"x $$user a$$b$$$user", 0, "s@x", one, 1, "<x><$user><a$b$User>"},
    /* macros */
    {"x $user ${user} $(user)", 0, "s@x", one, 1, "<x><User><User><User>"},
    {"x $recipient $original_recipient $mailbox $domain $extension", 0, "s@x", one, 1,
     "<x><User+Ext@Dom.Test><Alias@Other.Test><User+Ext><Dom.Test><Ext>"},
    {"x $sender $nexthop $size $queue_id", 0, "s+t@X.y", one, 1, "<x><s+t@X.y><Next.Hop><1234><8DC4FA8626E>"},
    {"x $client_address $client_helo $client_hostname $client_protocol", 0, "s@x", one, 1,
     "<x><192.0.2.1><helo.test><client.test><ESMTP>"},
    {"x $client_port $sasl_method $sasl_sender $sasl_username y", 0, "s@x", one, 1, "<x><><><><><y>"},
    /* the null sender */
    {"x -f $sender", 0, "", one, 1, "<x><-f><MAILER-DAEMON>"},
    /* addresses of all kinds */
    {"x $user|$extension|$mailbox|$domain", 0, "s@x", at, 1, "<x><a@b||a@b|HQ.test>"},
    {"x $user|$extension|$mailbox|$domain|$recipient", 0, "s@x", bare, 1, "<x><Root|x|Root+x||Root+x>"},
    {"x $user $domain y", 0, "s@x", empty_user, 1, "<x><><v.test><y>"},
    {"x $user|$extension", 0, "s@x", postmaster, 1, "<x><postmaster|x>"},
    {"x $recipient $user", 0, "s@x", odd, 1, "<x><a b+C@HQ.test><a b>"},
    /* folding and quoting */
    {"x $recipient $original_recipient $user $extension $mailbox $domain $nexthop $sender", H, "S@X", one, 1,
     "<x><User+Ext@dom.test><Alias@other.test><User><Ext><User+Ext><dom.test><next.hop><S@X>"},
    {"x $recipient $original_recipient $user $extension $mailbox $domain $nexthop $sender", U, "S@X", one, 1,
     "<x><user+ext@Dom.Test><alias@Other.Test><user><ext><user+ext><Dom.Test><Next.Hop><S@X>"},
    {"x $recipient $user $mailbox $extension", H | U | Q, "s@x", odd, 1, "<x><\"a b+c\"@hq.test><a b><a b+c><c>"},
    {"x $sender", Q, "s t@X", one, 1, "<x><\"s t\"@X>"},
    {"x $sender", 0, "s t@X", one, 1, "<x><s t@X>"},
    /* repetition */
    {"a $recipient b=$user/$extension $sender $extension $domain $nexthop z", 0, "s@x", three, 3,
     "<a><u+e@m.test><v@m.test><w+@m.test><b=u/e><b=v/><b=w/><s@x><e><><><m.test><m.test><m.test><Next.Hop><z>"},
    {"a $original_recipient $mailbox", 0, "s@x", three, 3, "<a><u+e@m.test><v@m.test><w+@m.test><u+e><v><w+>"},
    /* nothing in a message makes arguments */
    {"a {-x $sender}", 0, "a b\tc@x", one, 1, "<a><-x a b\tc@x>"},
};

static const char *render(const char **argv, struct buf *out)
{
    buf_clear(out);
    for (; *argv != NULL; argv++)
        buf_printf(out, "<%s>", *argv);
    return buf_cstr(out);
}

static void test_expand(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct envelope message = {
            .qid = 0x8DC4FA8626E,
            .size = 1234,
            .sender = rows[i].sender,
            .client_name = "client.test",
            .client_addr = "192.0.2.1",
            .helo = "helo.test",
            .protocol = "ESMTP",
        };
        const struct pipe_facts facts = {
            .message = &message,
            .rcpts = rows[i].rcpts,
            .nrcpts = rows[i].nrcpts,
            .nexthop = "Next.Hop",
            .null_sender = "MAILER-DAEMON",
            .recipient_delimiter = "+",
            .flags = rows[i].flags,
        };
        struct arena arena = {0};
        struct buf err = {0}, out = {0};
        const struct pipe_args *args = pipe_args_compile(&arena, rows[i].argv, &err);

        if (args == NULL)
            fail_msg("%s: %s", rows[i].argv, buf_cstr(&err));
        assert_string_equal(render(pipe_args_expand(args, &facts, &arena), &out), rows[i].expected);
        buf_release(&err);
        buf_release(&out);
        arena_clear(&arena);
    }
}

/* A message that nobody sent, and no delimiter. */
static void test_unknown_facts(void **state)
{
    const struct envelope message = {.qid = 1, .sender = ""};
    const struct pipe_facts facts = {.message = &message,
                                     .rcpts = one,
                                     .nrcpts = 1,
                                     .nexthop = "",
                                     .null_sender = "",
                                     .recipient_delimiter = "",
                                     .flags = Q};
    struct arena arena = {0};
    struct buf err = {0}, out = {0};
    const struct pipe_args *args = pipe_args_compile(
        &arena, "x $sender [$client_address$client_helo$client_hostname$client_protocol] $user $extension $nexthop",
        &err);

    (void)state;
    assert_non_null(args);
    assert_string_equal(render(pipe_args_expand(args, &facts, &arena), &out), "<x><><[]><User+Ext><><>");
    buf_release(&out);
    arena_clear(&arena);
}

/* Nothing in a message makes an option of an argument: that is as it was written, or there is no command line. */
static void test_options(void **state)
{
    static const struct envelope_rcpt tagged[] = {{.addr = "u@m.test"}, {.addr = "u+-x@m.test"}};
    static const struct {
        const char *argv, *expected; /* NULL: refused */
        const char *allowed;         /* with allow_min_user */
    } cases[] = {
        {"x $extension", NULL, "<x><><-x>"},
        {"x a ${extension}z", NULL, "<x><a><z><-xz>"},
        {"x -a $extension", NULL, "<x><-a><><-x>"},
        {"x $client_helo $sender z", NULL, "<x><-h><-s@x><z>"},
        {"x -m$extension -h$client_helo {-s $sender}", "<x><-m><-m-x><-h-h><-s -s@x>", "<x><-m><-m-x><-h-h><-s -s@x>"},
        {"x [$extension] $user", "<x><[]><[-x]><u><u>", "<x><[]><[-x]><u><u>"},
    };
    const struct envelope message = {.qid = 1, .sender = "-s@x", .helo = "-h"};
    struct pipe_facts facts = {
        .message = &message, .rcpts = tagged, .nrcpts = 2, .null_sender = "", .recipient_delimiter = "+"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena arena = {0};
        struct buf err = {0}, out = {0};
        const struct pipe_args *args = pipe_args_compile(&arena, cases[i].argv, &err);
        const char **argv;

        assert_non_null(args);
        facts.allow_options = false;
        argv = pipe_args_expand(args, &facts, &arena);
        if (cases[i].expected == NULL)
            assert_null(argv);
        else
            assert_string_equal(render(argv, &out), cases[i].expected);
        facts.allow_options = true;
        assert_string_equal(render(pipe_args_expand(args, &facts, &arena), &out), cases[i].allowed);
        buf_release(&out);
        arena_clear(&arena);
    }
}

static const struct {
    const char *argv, *complaint;
} bad[] = {
    {"", "argv is empty: a pipe transport needs a command"},
    {" \t ", "argv is empty: a pipe transport needs a command"},
    {"x ${nosuch}", "unknown macro \"${nosuch}\" in argv"},
    {"x $user_x", "unknown macro \"$user_x\" in argv"},
    {"x ${extension?+$extension}", "unknown macro \"${extension?+$extension}\" in argv"},
    {"x $", "unknown macro \"$\" in argv"},
    {"x $-", "unknown macro \"$\" in argv"},
    {"x ${}", "unknown macro \"${}\" in argv"},
    {"x ${user", "unbalanced macro \"${user\" in argv"},
    {"x $(user", "unbalanced macro \"$(user\" in argv"},
    {"x {a b", "missing } after \"{a b\" in argv"},
    {"x {a}b", "text after the } of \"{a}b\" in argv"},
};

static void test_mistakes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct arena arena = {0};
        struct buf err = {0};

        assert_null(pipe_args_compile(&arena, bad[i].argv, &err));
        assert_string_equal(buf_cstr(&err), bad[i].complaint);
        buf_release(&err);
        arena_clear(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expand),
        cmocka_unit_test(test_unknown_facts),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_mistakes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
