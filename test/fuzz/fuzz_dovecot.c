/*
 * Dovecot's lines: proto/grammar/dovecot_wire.h. Whatever a service sends, only what is in the line is read, and what
 * was read means the same when it is sent again. Whatever is in the texts of a request, it is one line, whose words are
 * those that it should have and say what the texts do.
 *
 * Input: what a service sends, line by line; then, behind a NUL, the texts of a request, each up to a NUL.
 */
#include "fuzz/fuzz.h"

#include "proto/grammar/dovecot_wire.h"

static void add_escaped(struct buf *out, struct slice text)
{
    static const char from[] = {'\0', '\001', '\t', '\r', '\n'}, to[] = "01trn";

    for (size_t i = 0; i < text.n; i++) {
        const char *at = memchr(from, text.p[i], sizeof from);

        if (at != NULL)
            buf_add_char(out, '\001');
        buf_add_char(out, at != NULL ? to[at - from] : text.p[i]);
    }
}

static void add_field(struct buf *out, const char *name, struct slice value)
{
    buf_printf(out, "\t%s=", name);
    add_escaped(out, value);
}

/* ---- what a service sends ---- */

static void print_answer(struct buf *out, const struct dovecot_line *l)
{
    buf_printf(out, "%s\t%u", l->kind == DOVECOT_OK ? "OK" : "FAIL", (unsigned)l->id);
    add_field(out, "code", l->code);
    add_field(out, "reason", l->reason);
    add_field(out, "user", l->user);
    buf_add_str(out, l->temp ? "\ttemp" : "");
    buf_add_str(out, l->authz ? "\tauthz" : "");
    buf_add_str(out, l->nologin ? "\tnologin" : "");
}

static void check_again(const struct dovecot_line *l)
{
    struct buf text = {0}, scratch = {0};
    struct dovecot_line again;

    if (l->kind == DOVECOT_CONT) {
        buf_printf(&text, "CONT\t%u\t", (unsigned)l->id);
        add_escaped(&text, l->text);
    } else {
        print_answer(&text, l);
    }
    dovecot_line_read(&again, buf_slice(&text), &scratch);
    MTA_ASSERT(again.kind == l->kind && again.id == l->id && slice_eq(again.text, l->text));
    MTA_ASSERT(slice_eq(again.user, l->user) && slice_eq(again.reason, l->reason) && slice_eq(again.code, l->code));
    MTA_ASSERT(again.temp == l->temp && again.authz == l->authz && again.nologin == l->nologin);
    buf_release(&text);
    buf_release(&scratch);
}

static void check_line(struct slice in, struct buf *scratch)
{
    struct dovecot_line l;
    struct slice line, all;
    char *memory;

    line = fuzz_copy(in, &memory);
    dovecot_line_read(&l, line, scratch);
    mem_free(memory); /* what was read is in the scratch */
    all = buf_slice(scratch);
    MTA_ASSERT(all.n <= in.n);
    MTA_ASSERT(fuzz_within(l.text, all) && fuzz_within(l.user, all) && fuzz_within(l.reason, all));
    MTA_ASSERT(fuzz_within(l.code, all));
    if (l.kind == DOVECOT_OK || l.kind == DOVECOT_FAIL || l.kind == DOVECOT_CONT)
        check_again(&l);
    else
        MTA_ASSERT(l.id == 0 && l.user.n == 0 && !l.temp && !l.nologin);
    MTA_ASSERT(l.kind != DOVECOT_MECH || l.text.n > 0);
}

/* ---- requests ---- */

/* A word of a request is read as a service would: as the reason of an answer. */
static void check_word(struct slice *rest, const char *name, const char *text)
{
    size_t end = slice_find(*rest, '\t');
    struct slice word = slice_head(*rest, end), value = slice_from(word, slice_find(word, '=') + 1);
    struct buf answer = {0}, scratch = {0};
    struct dovecot_line l;

    *rest = slice_from(*rest, end == SLICE_NOT_FOUND ? rest->n : end + 1);
    MTA_ASSERT(slice_starts(word, slice_str(name)) && word.p[strlen(name)] == '=');
    buf_add_str(&answer, "FAIL\t1\treason=");
    buf_add_slice(&answer, value);
    dovecot_line_read(&l, buf_slice(&answer), &scratch);
    MTA_ASSERT(l.kind == DOVECOT_FAIL && slice_eq(l.reason, slice_str(text)));
    buf_release(&answer);
    buf_release(&scratch);
}

static void check_request(const struct dovecot_auth *a)
{
    struct buf out = {0};
    struct slice line, prefix = SLICE_LIT("AUTH\t7\tPLAIN\t");

    dovecot_write_auth(&out, 7, a, 2);
    line = buf_slice(&out);
    MTA_ASSERT(slice_find(line, '\n') == line.n - 1 && slice_find(line, '\r') == SLICE_NOT_FOUND);
    line = slice_head(line, line.n - 1);
    MTA_ASSERT(slice_starts(line, prefix));
    line = slice_from(line, prefix.n);
    check_word(&line, "service", a->service);
    MTA_ASSERT(slice_eq(slice_head(line, slice_find(line, '\t')), SLICE_LIT("nologin")));
    line = slice_from(line, strlen("nologin\t"));
    if (a->lip[0] != '\0')
        check_word(&line, "lip", a->lip);
    if (a->rip[0] != '\0')
        check_word(&line, "rip", a->rip);
    check_word(&line, "resp", a->initial);
    MTA_ASSERT(line.n == 0);
    buf_release(&out);
}

/* The text up to the next NUL. */
static char *take_text(struct slice *in)
{
    size_t end = slice_find(*in, '\0');
    struct slice text = slice_head(*in, end);

    *in = slice_from(*in, end == SLICE_NOT_FOUND ? in->n : end + 1);
    return mem_dup(text.p, text.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_make(data, size), lines = slice_head(in, slice_find(in, '\0'));
    struct buf scratch = {0};
    char *texts[4];

    in = slice_from(in, lines.n + 1);
    while (lines.n > 0) {
        size_t eol = slice_find(lines, '\n');

        check_line(slice_head(lines, eol), &scratch);
        lines = slice_from(lines, eol == SLICE_NOT_FOUND ? lines.n : eol + 1);
    }
    for (size_t i = 0; i < 4; i++)
        texts[i] = take_text(&in);
    check_request(&(struct dovecot_auth){
        .mechanism = "PLAIN", .service = texts[0], .lip = texts[1], .rip = texts[2], .initial = texts[3]});
    for (size_t i = 0; i < 4; i++)
        mem_free(texts[i]);
    buf_release(&scratch);
    return 0;
}
