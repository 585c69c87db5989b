/*
 * Whole sessions over a loopback connection, with a real queue and in-line tables: which reply each command gets in
 * which state, fed whole, byte by byte and split at each point; what is in the queue afterwards.
 */
#include "unit/cmocka_all.h"

#include "core/base/alloc.h"
#include "core/base/log.h"
#include "proto/smtpd/smtpd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct world {
    char dir[64];
    struct loop *loop;
    const struct conf *conf;
    struct tables *tables;
    struct rules *rules;
    struct queue *queue;
    struct smtpd *smtpd;
    struct smtpd_service *service;
    int fd;
    struct buf seen;
    bool over;
    unsigned commits;
    struct buf envelope; /* of the last commit: "from>to,to" */
    uint64_t qid;        /* of the last commit */
    struct buf content;  /* read back */
};

static void quiet(enum log_level level, const char *line, size_t n)
{
    (void)level;
    (void)line;
    (void)n;
}

static void on_commit(void *arg, const struct envelope *e)
{
    struct world *w = arg;

    w->commits++;
    w->qid = e->qid;
    buf_clear(&w->envelope);
    buf_printf(&w->envelope, "%s>", e->sender);
    for (size_t i = 0; i < e->nrcpts; i++)
        buf_printf(&w->envelope, "%s%s", i ? "," : "", e->rcpts[i].addr);
}

static struct world world_make(const char *settings)
{
    struct world w = {.fd = -1};
    struct conf_report report = {0};
    struct status why;
    struct buf err = {0};
    char path[100];
    FILE *f;

    log_setup("postfix", "test", LOG_LEVEL_FATAL, quiet);
    strcpy(w.dir, "/tmp/mta-smtpd-XXXXXX");
    assert_non_null(mkdtemp(w.dir));
    snprintf(path, sizeof path, "%s/mta.conf", w.dir);
    f = fopen(path, "w");
    fprintf(f,
            "myhostname = mail.example.com\nmydestination =\nqueue_directory = %s\nmynetworks = 192.0.2.0/24\n"
            "virtual_mailbox_base = /nonexistent\nvirtual_uid_maps = static:5000\nvirtual_gid_maps = static:5000\n"
            "virtual_mailbox_domains = example.com\n"
            "virtual_mailbox_maps = inline:{ {alain@example.com = x/}, {bob@example.com = y/} }\n"
            "virtual_alias_maps = inline:{ {all@example.com = alain@example.com, bob@example.com},"
            " {a@loop.example = b@loop.example}, {b@loop.example = a@loop.example} }\n"
            "virtual_alias_domains = loop.example\n%s\n",
            w.dir, settings);
    fclose(f);
    w.conf = conf_load(path, &report);
    if (w.conf == NULL)
        conf_report_print(&report, stderr);
    assert_non_null(w.conf);
    conf_report_clear(&report);
    w.loop = loop_new();
    w.tables = tables_new(w.loop);
    w.rules = rules_new(w.loop, w.tables, w.conf, &err);
    assert_non_null(w.rules);
    w.queue = queue_open(w.loop, &(struct queue_options){.directory = w.dir}, &why);
    assert_non_null(w.queue);
    w.smtpd = smtpd_new(w.loop, w.queue);
    w.service = smtpd_service_new(w.smtpd, w.tables, w.rules, &w.conf->listeners[0], &err);
    if (w.service == NULL)
        fputs(buf_cstr(&err), stderr);
    assert_non_null(w.service);
    buf_release(&err);
    return w;
}

static void world_end(struct world *w)
{
    char command[100];

    smtpd_free(&w->smtpd);
    queue_close(&w->queue);
    smtpd_service_unref(&w->service);
    rules_unref(&w->rules);
    while (op_live(w->loop) > 0) /* questions go on to their end */
        loop_turn(w->loop);
    tables_free(&w->tables);
    loop_run(w->loop);
    conf_unref(&w->conf);
    assert_int_equal(op_live(w->loop), 0);
    loop_free(&w->loop);
    buf_release(&w->seen);
    buf_release(&w->envelope);
    buf_release(&w->content);
    snprintf(command, sizeof command, "rm -rf %s", w->dir);
    assert_int_equal(system(command), 0);
}

static void connect_client(struct world *w)
{
    int listening = socket(AF_INET, SOCK_STREAM, 0), server;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;

    assert_int_equal(bind(listening, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(listening, 1), 0);
    getsockname(listening, (struct sockaddr *)&at, &n);
    w->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(w->fd, (struct sockaddr *)&at, sizeof at), 0);
    server = accept(listening, NULL, NULL);
    assert_true(server >= 0);
    close(listening);
    fcntl(w->fd, F_SETFL, O_NONBLOCK);
    smtpd_accept(w->service, stream_from_fd(w->loop, server));
}

static void read_replies(struct world *w)
{
    char piece[4096];
    ssize_t n;

    while ((n = read(w->fd, piece, sizeof piece)) > 0)
        buf_add(&w->seen, piece, (size_t)n);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        w->over = true;
}

static void tick(void *arg)
{
    (void)arg;
}

static void turn(struct world *w)
{
    struct timer t = {0};

    timer_start(w->loop, &t, 2, tick, NULL);
    loop_turn(w->loop);
    timer_stop(&t);
    read_replies(w);
}

/* Sends the pieces, then the end of input, and runs until the server has closed. The transcript is in w->seen. */
static void dialogue(struct world *w, const char *input, size_t size, size_t split, bool bytewise)
{
    size_t sent = 0;

    buf_clear(&w->seen);
    w->over = false;
    connect_client(w);
    while (sent < size) {
        size_t n = bytewise ? 1 : sent < split ? split - sent : size - sent;
        ssize_t put = write(w->fd, input + sent, n);

        if (put > 0)
            sent += (size_t)put;
        turn(w);
        if (w->over)
            break;
    }
    shutdown(w->fd, SHUT_WR);
    for (int i = 0; i < 5000 && !w->over; i++)
        turn(w);
    assert_true(w->over);
    close(w->fd);
}

/* "220 250 354": the codes of the final lines of the replies. */
static const char *codes(struct world *w, char out[512])
{
    struct slice rest = buf_slice(&w->seen);
    size_t n = 0;

    out[0] = '\0';
    while (rest.n > 0) {
        size_t eol = slice_find(rest, '\n');

        if (eol == SLICE_NOT_FOUND)
            break;
        if (eol > 3 && rest.p[3] == ' ')
            n += (size_t)snprintf(out + n, 512 - n, "%s%.3s", n ? " " : "", rest.p);
        rest = slice_from(rest, eol + 1);
    }
    return out;
}

static const struct {
    const char *input, *codes;
    unsigned commits;
    const char *envelope;
} dialogues[] = {
    {"QUIT\r\n", "220 221", 0, NULL},
    {"", "220", 0, NULL},
    {"EHLO me\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<alain@example.com>\r\nDATA\r\nSubject: "
     "x\r\n\r\nbody\r\n.\r\nQUIT\r\n",
     "220 250 250 250 354 250 221", 1, "a@b.example>alain@example.com"},
    {"HELO me\r\nMAIL FROM:<>\r\nRCPT TO:<ALAIN@Example.COM>\r\nDATA\r\n.\r\nQUIT\r\n", "220 250 250 250 354 250 221",
     1, ">ALAIN@Example.COM"},
    /* an alias with two members, one of them given as well */
    {"EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<all@example.com>\r\nRCPT "
     "TO:<bob@example.com>\r\nDATA\r\n\r\n.\r\nQUIT\r\n",
     "220 250 250 250 250 354 250 221", 1, NULL},
    /* unknown user, relay, bad syntax */
    {"EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<nobody@example.com>\r\nRCPT TO:<x@elsewhere.example>\r\nRCPT TO:<a b>\r\n"
     "RCPT TO:<>\r\nDATA\r\nQUIT\r\n",
     "220 250 250 550 454 501 501 554 221", 0, NULL},
    /* no second routing operator gets through */
    {"EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<x%elsewhere.example@example.com>\r\nRCPT "
     "TO:<\"x@elsewhere.example\"@example.com>\r\n"
     "RCPT TO:<elsewhere.example!x@example.com>\r\nQUIT\r\n",
     "220 250 250 454 454 454 221", 0, NULL},
    /* sequence */
    {"RCPT TO:<alain@example.com>\r\nDATA\r\nMAIL FROM:<a@b>\r\nMAIL FROM:<a@b>\r\nDATA\r\nRSET\r\nDATA\r\nQUIT\r\n",
     "220 503 503 250 503 554 250 503 221", 0, NULL},
    /* EHLO resets; RSET takes no argument; unknown, empty and NOOP */
    {"EHLO me\r\nMAIL FROM:<a@b>\r\nEHLO me\r\nMAIL FROM:<a@b>\r\nRSET x\r\nFOO\r\n\r\nNOOP "
     "x\r\nHELP\r\nHELO\r\nQUIT\r\n",
     "220 250 250 250 250 501 500 500 250 214 501 221", 0, NULL},
    /* no TLS here */
    {"EHLO me\r\nSTARTTLS x\r\nSTARTTLS\r\nMAIL FROM:<a@b>\r\nSTARTTLS\r\nQUIT\r\n", "220 250 501 502 250 502 221", 0,
     NULL},
    /* SIZE too large, unknown and bad parameters */
    {"EHLO me\r\nMAIL FROM:<a@b> SIZE=99999999\r\nMAIL FROM:<a@b> FOO=1\r\nMAIL FROM:<a@b> BODY=9BIT\r\n"
     "MAIL FROM:<a@b> SIZE=100 BODY=8BITMIME RET=HDRS ENVID=x\r\nRCPT TO:<alain@example.com> NOTIFY=NEVER,DELAY\r\n"
     "RCPT TO:<alain@example.com> NOTIFY=FAILURE ORCPT=rfc822;alain@example.com\r\nQUIT\r\n",
     "220 250 552 555 555 250 501 250 221", 0, NULL},
    /* what only looks like the end of the data is not */
    {"EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT "
     "TO:<alain@example.com>\r\nDATA\r\nx\r\n.\nQUIT\n.\r\n\n.\n\r.\r\ry\r\n.\r\nQUIT\r\n",
     "220 250 250 250 354 250 221", 1, NULL},
    /* two messages in one session */
    {"EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<alain@example.com>\r\nDATA\r\n\r\n.\r\nMAIL FROM:<c@d>\r\n"
     "RCPT TO:<bob@example.com>\r\nDATA\r\n\r\n.\r\nQUIT\r\n",
     "220 250 250 250 354 250 250 250 354 250 221", 2, "c@d>bob@example.com"},
    /* BDAT: two chunks, commands between, an empty last one */
    {"EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<alain@example.com>\r\nBDAT 5\r\na: b\rRCPT "
     "TO:<bob@example.com>\r\nDATA\r\n"
     "BDAT 5\r\n\n\r\nx\nBDAT 0 LAST\r\nQUIT\r\n",
     "220 250 250 250 250 503 503 250 250 221", 1, "a@b>alain@example.com"},
    /* BDAT without recipients: its chunk is thrown away, also when it looks like commands */
    {"EHLO me\r\nMAIL FROM:<a@b>\r\nBDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nRSET\r\nBDAT 6\r\nQUIT\r\nQUIT\r\n",
     "220 250 250 554 551 250 503 221", 0, NULL},
    {"EHLO me\r\nBDAT x\r\nNOOP\r\n", "220 250 521", 0, NULL},
    /* postmaster without a domain is never refused */
    {"EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<postMaster>\r\nRCPT TO:<other>\r\nQUIT\r\n", "220 250 250 250 454 221", 0,
     NULL},
    {"VRFY\r\nVRFY alain@example.com\r\nVRFY nobody@example.com\r\nVRFY x@elsewhere.example\r\nQUIT\r\n",
     "220 501 252 550 454 221", 0, NULL},
    {"GET / HTTP/1.1\r\nHost: x\r\n", "220 221", 0, NULL},
    /* an alias loop is no reason to lose anything: the message is not taken, for now */
    {"EHLO me\r\nMAIL FROM:<x@y>\r\nRCPT TO:<a@loop.example>\r\nDATA\r\n\r\n.\r\nQUIT\r\n",
     "220 250 250 250 354 451 221", 0, NULL},
    /* UTF-8 needs SMTPUTF8 */
    {"EHLO me\r\nMAIL FROM:<\xc3\xa4@b>\r\nMAIL FROM:<\xc3\xa4@b> SMTPUTF8\r\nRCPT TO:<\xff@example.com>\r\nQUIT\r\n",
     "220 250 553 250 501 221", 0, NULL},
    /* AUTH: "u@x", "pw" at once and in steps; with it mail goes anywhere */
    {"EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<x@elsewhere.example>\r\nAUTH PLAIN\r\nRSET\r\n"
     "AUTH PLAIN AHVAeABwdw==\r\nMAIL FROM:<a@b> AUTH=<>\r\nRCPT TO:<x@elsewhere.example>\r\nQUIT\r\n",
     "220 250 250 454 503 250 235 250 250 221", 0, NULL},
    {"AUTH LOGIN\r\ndUB4\r\ncHc=\r\nAUTH PLAIN\r\nQUIT\r\n", "220 334 334 235 503 221", 0, NULL},
    {"AUTH LOGIN dUB4\r\neA==\r\nAUTH LOGIN\r\n*\r\nAUTH LOGIN\r\nQUIT\r\nAUTH PLAIN\r\n\r\nAUTH X\r\nAUTH\r\nQUIT\r\n",
     "220 334 535 334 501 334 501 334 501 504 501 221", 0, NULL},
    {"AUTH LOGIN\r\ndUB", "220 334", 0, NULL},
    /* the client goes away in the middle of the content: nothing is queued */
    {"EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<alain@example.com>\r\nDATA\r\nSubject: x\r\n\r\nbody\r\n.\r",
     "220 250 250 250 354", 0, NULL},
};

static void check(struct world *w, size_t row, size_t split, bool bytewise)
{
    char got[512];
    unsigned before = w->commits;

    dialogue(w, dialogues[row].input, strlen(dialogues[row].input), split, bytewise);
    assert_string_equal(codes(w, got), dialogues[row].codes);
    assert_int_equal(w->commits - before, dialogues[row].commits);
    if (dialogues[row].envelope != NULL)
        assert_string_equal(buf_cstr(&w->envelope), dialogues[row].envelope);
}

static void each_dialogue_has_its_replies_however_it_is_cut(void **unused)
{
    struct world w = world_make("smtpd_soft_error_limit = 100\nsmtpd_hard_error_limit = 100\n"
                                "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = table\n"
                                "smtpd_sasl_password_maps = inline:{u@x={PLAIN}pw}");

    (void)unused;
    queue_on_commit(w.queue, on_commit, &w);
    for (size_t row = 0; row < ARRAY_LEN(dialogues); row++) {
        check(&w, row, 0, false);
        check(&w, row, 0, true);
        for (size_t split = 1; split < strlen(dialogues[row].input); split += 3)
            check(&w, row, split, false);
    }
    world_end(&w);
}

static void too_many_errors_end_the_session(void **unused)
{
    struct world w = world_make("smtpd_soft_error_limit = 3\nsmtpd_hard_error_limit = 5\nsmtpd_error_sleep_time = 0");
    char got[512];

    (void)unused;
    dialogue(&w, "A\r\nB\r\nC\r\nD\r\nE\r\nF\r\nG\r\n", 21, 0, false);
    assert_string_equal(codes(&w, got), "220 500 500 500 500 500 421");
    world_end(&w);
}

static void on_piece(void *owner, enum op_status st, const void *result)
{
    struct world *w = owner;
    const struct queue_piece *piece = result;

    assert_int_equal(st, OP_OK);
    assert_true(piece->last);
    buf_add_slice(&w->content, piece->bytes);
}

/* The content of the last message, in one piece. */
static const char *read_content(struct world *w)
{
    struct op_scope scope;

    op_scope_init(&scope, "test");
    buf_clear(&w->content);
    queue_read(w->queue, &scope, w->qid, 0, on_piece, w);
    while (!op_scope_idle(&scope))
        loop_turn(w->loop);
    return buf_cstr(&w->content);
}

static void headers_are_dropped_however_they_are_cut(void **unused)
{
    struct world w = world_make("local_header_rewrite_clients =");
    const char *in = "EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<alain@example.com>\r\nDATA\r\n"
                     "From x y\r\nbcc : b@c,\r\n\td@e\r\nSubject: x\r\n y\r\n\r\nBcc: body\r\n.\r\nQUIT\r\n";

    (void)unused;
    queue_on_commit(w.queue, on_commit, &w);
    for (size_t split = 0; split < strlen(in); split += 3) {
        const char *content, *headers;

        dialogue(&w, in, strlen(in), split, split == 3);
        content = read_content(&w);
        headers = strstr(content, "X-Mailbox-Line: ");
        assert_non_null(headers);
        assert_string_equal(headers, "X-Mailbox-Line: From x y\nSubject: x\n y\n\nBcc: body\n");
    }
    world_end(&w);
}

static void recipients_are_limited_and_the_rest_is_for_later(void **unused)
{
    struct world w = world_make("smtpd_recipient_limit = 2\nsmtpd_hard_error_limit = 2");
    const char *in =
        "EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<alain@example.com>\r\nRCPT TO:<bob@example.com>\r\n"
        "RCPT TO:<alain@example.com>\r\nRCPT TO:<alain@example.com>\r\nRCPT TO:<alain@example.com>\r\nDATA\r\n"
        "\r\n.\r\nQUIT\r\n";
    char got[512];

    (void)unused;
    dialogue(&w, in, strlen(in), 0, false);
    assert_string_equal(codes(&w, got), "220 250 250 250 250 452 452 452 354 250 221");
    world_end(&w);
}

static void a_message_that_grows_too_large_is_refused_at_its_end(void **unused)
{
    struct world w = world_make("message_size_limit = 10000");
    struct buf in = {0};
    char got[512];

    (void)unused;
    buf_add_str(&in, "EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<alain@example.com>\r\nDATA\r\n\r\n");
    for (int i = 0; i < 300; i++)
        buf_add_str(&in, "0123456789012345678901234567890123456789\r\n");
    buf_add_str(&in, ".\r\nQUIT\r\n");
    dialogue(&w, buf_slice(&in).p, buf_len(&in), 0, false);
    assert_string_equal(codes(&w, got), "220 250 250 250 354 552 221");
    buf_release(&in);
    world_end(&w);
}

static void bare_newlines_are_refused_when_that_is_asked_for(void **unused)
{
    struct world w = world_make("smtpd_forbid_bare_newline = reject");
    const char *in = "EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<alain@example.com>\r\nDATA\r\nx\ny\r\n.\r\nQUIT\r\n";
    char got[512];

    (void)unused;
    dialogue(&w, in, strlen(in), 0, false);
    assert_string_equal(codes(&w, got), "220 250 250 250 354 550 221");
    world_end(&w);
}

/* A line that is cut because it is too long still ended in CRLF, or did not. */
static void a_line_that_is_cut_has_its_line_end(void **unused)
{
    struct world w = world_make("smtpd_forbid_bare_newline = reject\nline_length_limit = 512");
    struct buf in = {.max = 0};
    char got[512];

    (void)unused;
    buf_printf(&in, "NOOP %02000d\r\nNOOP\r\nNOOP %02000d\nNOOP\r\n", 0, 0);
    for (size_t split = 0; split < buf_len(&in); split += 67) {
        dialogue(&w, buf_slice(&in).p, buf_len(&in), split, split == 67); /* once byte by byte */
        assert_string_equal(codes(&w, got), "220 250 250 550");
    }
    buf_release(&in);
    world_end(&w);
}

static void a_configuration_that_would_relay_does_not_compile(void **unused)
{
    struct world w = world_make("");
    struct buf err = {0};
    struct conf_report report = {0};
    char path[100];
    FILE *f;
    const struct conf *open_relay;

    (void)unused;
    snprintf(path, sizeof path, "%s/open.conf", w.dir);
    f = fopen(path, "w");
    fputs("myhostname = mail.example.com\nsmtpd_relay_restrictions =\nsmtpd_recipient_restrictions = permit\n", f);
    fclose(f);
    open_relay = conf_load(path, &report);
    if (open_relay != NULL) { /* conf may notice it first */
        assert_null(smtpd_service_new(w.smtpd, w.tables, w.rules, &open_relay->listeners[0], &err));
        assert_non_null(strstr(buf_cstr(&err), "relay mail for everybody"));
    } else
        assert_true(report.nerrors > 0);
    conf_unref(&open_relay);
    conf_report_clear(&report);
    buf_release(&err);
    world_end(&w);
}

static void draining_says_421_to_whoever_is_connected(void **unused)
{
    struct world w = world_make("");
    char got[512];

    (void)unused;
    buf_clear(&w.seen);
    w.over = false;
    connect_client(&w);
    for (int i = 0; i < 200 && buf_len(&w.seen) == 0; i++)
        turn(&w);
    smtpd_drain(w.smtpd, 1000, tick, NULL);
    for (int i = 0; i < 2000 && !w.over; i++) {
        turn(&w);
        if (buf_len(&w.seen) > 60)
            shutdown(w.fd, SHUT_WR);
    }
    assert_string_equal(codes(&w, got), "220 421");
    close(w.fd);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_dialogue_has_its_replies_however_it_is_cut),
        cmocka_unit_test(too_many_errors_end_the_session),
        cmocka_unit_test(headers_are_dropped_however_they_are_cut),
        cmocka_unit_test(recipients_are_limited_and_the_rest_is_for_later),
        cmocka_unit_test(a_message_that_grows_too_large_is_refused_at_its_end),
        cmocka_unit_test(bare_newlines_are_refused_when_that_is_asked_for),
        cmocka_unit_test(a_line_that_is_cut_has_its_line_end),
        cmocka_unit_test(a_configuration_that_would_relay_does_not_compile),
        cmocka_unit_test(draining_says_421_to_whoever_is_connected),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
