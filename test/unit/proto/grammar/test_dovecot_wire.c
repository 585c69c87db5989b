/* Dovecot's lines: every kind, fields in any order, missing and escaped ones; what is written, byte by byte. */
#include "unit/cmocka_all.h"

#include "proto/grammar/dovecot_wire.h"

#include "core/base/assert.h"

#include <stdio.h>

/* A line, and what is read in it: one string, so that a row is easy to see. */
static const struct {
    const char *line, *read;
} rows[] = {
    {"VERSION\t1\t2", "version 1 2"},
    {"VERSION\t1", "version 1 0"},
    {"VERSION\t1\tx\ty", "version 1 0"},
    {"VERSION\t2\t65535", "version 2 65535"},
    {"VERSION", "malformed"},
    {"VERSION\t", "malformed"},
    {"VERSION\t65536\t1", "malformed"},
    {"VERSION\t-1\t1", "malformed"},
    {"MECH\tPLAIN\tplaintext", "mech PLAIN 1"},
    {"MECH\tX", "mech X 0"},
    {"MECH\tX\tplaintext\tdictionary\tactive\tanonymous\tforward-secrecy\tmutual-auth\tprivate\tchannel-binding",
     "mech X 255"},
    {"MECH\tX\tactive\tunknown\t\tactive", "mech X 4"},
    {"MECH", "malformed"},
    {"MECH\t\tplaintext", "malformed"},
    {"SPID\t123", "spid 123"},
    {"SPID", "spid "},
    {"DONE", "done"},
    {"DONE\tx", "done"},
    {"CUID\t1", "unknown"},
    {"COOKIE\t0123", "unknown"},
    {"", "unknown"},
    {"\t", "unknown"},
    {"ok\t1", "unknown"},
    {"OKAY\t1\tuser=x", "unknown"},
    {"OK\t1\tuser=u@d", "ok 1 user=u@d reason= code= 000"},
    {"OK\t4294967295", "ok 4294967295 user= reason= code= 000"},
    {"OK\t4294967296\tuser=x", "malformed"},
    {"OK\t\tuser=x", "malformed"},
    {"OK\tx\tuser=x", "malformed"},
    {"OK", "malformed"},
    {"OK\t7\tresp=abc=\tfoo\tuser=a=b\tbar=1", "ok 7 user=a=b reason= code= 000"},
    {"OK\t7\tuser=x\tnologin", "ok 7 user=x reason= code= 001"},
    {"OK\t7\tnologin=\tuser=x", "ok 7 user=x reason= code= 001"},
    {"OK\t7\tproxy=y\thost=h\tuser=x", "ok 7 user=x reason= code= 001"},
    {"OK\t7\tuser", "ok 7 user= reason= code= 000"},
    {"OK\t7\tusers=x\txuser=y", "ok 7 user= reason= code= 000"},
    {"FAIL\t2\tuser=u\treason=no", "fail 2 user=u reason=no code= 000"},
    {"FAIL\t2\treason=no\tuser=u\ttemp", "fail 2 user=u reason=no code= 100"},
    {"FAIL\t2\tcode=temp_fail", "fail 2 user= reason= code=temp_fail 100"},
    {"FAIL\t2\tauthz\tuser=u", "fail 2 user=u reason= code= 010"},
    {"FAIL\t2\tcode=authz_fail", "fail 2 user= reason= code=authz_fail 010"},
    {"FAIL\t2\tcode=pass_expired", "fail 2 user= reason= code=pass_expired 000"},
    {"FAIL\t2", "fail 2 user= reason= code= 000"},
    {"FAIL\t2\treason=a\001tb\001nc\001rd\0011e\001xf\001", "fail 2 user= reason=a\tb\nc\rd\001exf code= 000"},
    {"FAIL\t2\t\001user=u", "fail 2 user=u reason= code= 000"},
    {"CONT\t3\tUGFzc3dvcmQ6", "cont 3 UGFzc3dvcmQ6"},
    {"CONT\t3", "cont 3 "},
    {"CONT\t3\t", "cont 3 "},
    {"CONT\t3\ta\tb", "cont 3 a"},
    {"CONT", "malformed"},
};

static void show(const struct dovecot_line *l, char *out, size_t size)
{
    switch (l->kind) {
    case DOVECOT_VERSION: snprintf(out, size, "version %u %u", l->major, l->minor); break;
    case DOVECOT_MECH: snprintf(out, size, "mech %.*s %u", (int)l->text.n, l->text.p, l->properties); break;
    case DOVECOT_SPID: snprintf(out, size, "spid %.*s", (int)l->text.n, l->text.p); break;
    case DOVECOT_DONE: snprintf(out, size, "done"); break;
    case DOVECOT_CONT: snprintf(out, size, "cont %u %.*s", l->id, (int)l->text.n, l->text.p); break;
    case DOVECOT_UNKNOWN: snprintf(out, size, "unknown"); break;
    case DOVECOT_MALFORMED: snprintf(out, size, "malformed"); break;
    case DOVECOT_OK:
    case DOVECOT_FAIL:
        snprintf(out, size, "%s %u user=%.*s reason=%.*s code=%.*s %d%d%d", l->kind == DOVECOT_OK ? "ok" : "fail",
                 l->id, (int)l->user.n, l->user.p, (int)l->reason.n, l->reason.p, (int)l->code.n, l->code.p, l->temp,
                 l->authz, l->nologin);
        break;
    }
}

static void lines_are_read(void **state)
{
    struct buf scratch = {0};
    char shown[200];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct dovecot_line line;

        dovecot_line_read(&line, slice_str(rows[i].line), &scratch);
        show(&line, shown, sizeof shown);
        assert_string_equal(shown, rows[i].read);
    }
    buf_release(&scratch);
}

/* "\0010" is a NUL, which does not end the value. */
static void value_may_hold_a_nul(void **state)
{
    struct buf scratch = {0};
    struct dovecot_line line;

    (void)state;
    dovecot_line_read(&line, SLICE_LIT("OK\t1\tuser=admin\0010x"), &scratch);
    assert_int_equal(line.user.n, 7);
    assert_memory_equal(line.user.p, "admin\0x", 7);
    buf_release(&scratch);
}

static const struct {
    struct dovecot_auth auth;
    unsigned minor;
    const char *line;
} written[] = {
    {{.mechanism = "PLAIN", .service = "smtp", .lip = "", .rip = ""}, 2, "AUTH\t5\tPLAIN\tservice=smtp\tnologin\n"},
    {{.mechanism = "PLAIN",
      .service = "smtp",
      .lip = "192.0.2.1",
      .rip = "2001:db8::2",
      .lport = 587,
      .rport = 4711,
      .tls = true,
      .initial = "AHUAcA=="},
     2,
     "AUTH\t5\tPLAIN\tservice=smtp\tnologin\tlip=192.0.2.1\tlport=587\trip=2001:db8::2\trport=4711\tsecured=tls"
     "\tresp=AHUAcA==\n"},
    {{.mechanism = "X", .service = "smtp", .lip = "", .rip = "", .tls = true, .initial = "="},
     1,
     "AUTH\t5\tX\tservice=smtp\tnologin\tsecured\tresp==\n"},
    /* nothing gets out of its word */
    {{.mechanism = "X\tY", .service = "a\tb\nc\rd\001e", .lip = "\n", .rip = "\tsecured", .initial = "A\nB"},
     1,
     "AUTH\t5\tX\001tY\tservice=a\001tb\001nc\001rd\0011e\tnologin\tlip=\001n\trip=\001tsecured\tresp=A\001nB\n"},
};

static void lines_are_written(void **state)
{
    struct buf out = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(written); i++) {
        buf_clear(&out);
        dovecot_write_auth(&out, 5, &written[i].auth, written[i].minor);
        assert_string_equal(buf_cstr(&out), written[i].line);
    }
    buf_clear(&out);
    dovecot_write_hello(&out, 4711);
    dovecot_write_cont(&out, UINT32_MAX, "YQ==");
    dovecot_write_cont(&out, 1, "");
    dovecot_write_cancel(&out, UINT32_MAX);
    assert_string_equal(buf_cstr(&out), "VERSION\t1\t2\nCPID\t4711\n"
                                        "CONT\t4294967295\tYQ==\nCONT\t1\t\nCANCEL\t4294967295\n");
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_read),
        cmocka_unit_test(value_may_hold_a_nul),
        cmocka_unit_test(lines_are_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
