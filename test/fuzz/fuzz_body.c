/*
 * Content: proto/grammar/smtp_body.h and header.h. Decoded whole, byte by byte and in pieces it is the same, and the
 * same as the plain reading of ref_body.h; only CRLF.CRLF ends DATA. The header scanner sees the same however content
 * is cut, and what the iterator sees.
 *
 * Input: one byte: bit 0 is BDAT; one byte from which the pieces come; content.
 */
#include "fuzz/fuzz.h"
#include "fuzz/ref_body.h"

#include "proto/grammar/header.h"
#include "proto/grammar/smtp_body.h"

/* The next of a row of piece sizes, 1 to 32. */
static size_t next_piece(unsigned *seed)
{
    *seed = *seed * 1103515245u + 12345u;
    return (*seed >> 16) % 32 + 1;
}

struct decoded {
    struct buf text;
    struct smtp_body body;
    bool ended;
    size_t consumed;
};

/* Decodes in pieces: of `fixed` bytes, or as `seed` says when that is 0. */
static struct decoded decode(struct slice in, bool dots, size_t fixed, unsigned seed)
{
    struct decoded d = {.ended = false};

    smtp_body_init(&d.body);
    while (d.consumed < in.n && !d.ended) {
        char *memory;
        struct slice piece =
            fuzz_copy(slice_head(slice_from(in, d.consumed), fixed ? fixed : next_piece(&seed)), &memory);
        size_t before = buf_len(&d.text), used = piece.n;

        if (dots)
            d.ended = smtp_body_feed(&d.body, piece, &d.text, &used) == SMTP_BODY_END;
        else
            smtp_body_chunk(&d.body, piece, &d.text);
        MTA_ASSERT(used == piece.n || (d.ended && used <= piece.n));
        MTA_ASSERT(buf_len(&d.text) <= before + used + 2);
        d.consumed += used;
        mem_free(memory);
    }
    if (!dots)
        smtp_body_finish(&d.body, &d.text);
    return d;
}

static void check_decoded(struct decoded d, const struct ref_body *ref)
{
    MTA_ASSERT(slice_eq(buf_slice(&d.text), buf_slice(&ref->text)));
    MTA_ASSERT(slice_find(buf_slice(&d.text), '\r') == SLICE_NOT_FOUND);
    MTA_ASSERT(d.ended == ref->ended && d.consumed == ref->consumed);
    MTA_ASSERT(d.body.seen_bare_lf == ref->bare_lf && d.body.seen_bare_cr == ref->bare_cr);
    buf_release(&d.text);
}

/* The end of DATA is where the first CRLF.CRLF ends, with the CRLF of the command before the content. */
static void check_end(struct slice in, const struct ref_body *ref)
{
    struct buf text = {0};
    const char *end;

    buf_add_str(&text, "\r\n");
    buf_add(&text, in.p, in.n);
    end = memmem(text.data, buf_len(&text), "\r\n.\r\n", 5);
    MTA_ASSERT(ref->ended == (end != NULL));
    if (end != NULL)
        MTA_ASSERT(ref->consumed == (size_t)(end - text.data) + 3);
    buf_release(&text);
}

static void check_same_scan(const struct header_scan *a, const struct header_scan *b)
{
    MTA_ASSERT(a->received == b->received && a->has_message_id == b->has_message_id && a->has_date == b->has_date);
    MTA_ASSERT(a->has_from == b->has_from && a->has_resent == b->has_resent && a->mbox_line == b->mbox_line);
    MTA_ASSERT(a->has_resent_message_id == b->has_resent_message_id && a->has_resent_date == b->has_resent_date);
    MTA_ASSERT(a->has_resent_from == b->has_resent_from && strcmp(a->message_id, b->message_id) == 0);
    MTA_ASSERT(a->ended == b->ended && a->no_separator == b->no_separator);
    MTA_ASSERT(a->settled == b->settled && a->longest == b->longest);
}

/* The iterator goes through the same headers up to where the scanner says that the section ends. */
static void check_iterator(struct slice text, const struct header_scan *scan)
{
    struct slice rest = text, name, value, raw, end;
    unsigned received = 0;
    bool date = false;

    while (header_next(&rest, &name, &value, &raw)) {
        MTA_ASSERT(name.n > 0 && fuzz_within(name, raw) && fuzz_within(value, raw) && fuzz_within(raw, text));
        received += slice_ieq(name, SLICE_LIT("Received"));
        date = date || slice_ieq(name, SLICE_LIT("Date"));
    }
    if (scan->mbox_line)
        return; /* no header, but the section goes on behind it */
    end = slice_from(text, (size_t)scan->settled);
    MTA_ASSERT(rest.n == end.n && received == scan->received && date == scan->has_date);
    MTA_ASSERT(scan->no_separator == (rest.n > 0 && rest.p[0] != '\n'));
}

static void check_headers(struct slice text, unsigned seed)
{
    struct header_scan whole = {.received = 0}, pieces = {.received = 0}, bytes = {.received = 0};

    header_scan_feed(&whole, text);
    for (size_t at = 0; at < text.n;) {
        size_t n = next_piece(&seed);

        header_scan_feed(&pieces, slice_head(slice_from(text, at), n));
        MTA_ASSERT(pieces.settled <= at + n);
        at += n;
    }
    for (size_t at = 0; at < text.n; at++)
        header_scan_feed(&bytes, slice_make(text.p + at, 1));
    header_scan_finish(&whole);
    header_scan_finish(&pieces);
    header_scan_finish(&bytes);
    check_same_scan(&whole, &pieces);
    check_same_scan(&whole, &bytes);
    MTA_ASSERT(whole.settled <= text.n && strlen(whole.message_id) <= HEADER_ID_MAX);
    check_iterator(text, &whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_make(data, size);
    bool dots = !(fuzz_byte(&in) & 1);
    unsigned seed = fuzz_byte(&in);
    struct ref_body ref = ref_body_decode(in, dots);

    if (dots)
        check_end(in, &ref);
    else
        ref_body_finish(&ref, in);
    check_decoded(decode(in, dots, in.n + 1, 0), &ref);
    check_decoded(decode(in, dots, 1, 0), &ref);
    check_decoded(decode(in, dots, 0, seed), &ref);
    if (buf_len(&ref.text) > 0 && ref.text.data[ref.text.end - 1] != '\n')
        buf_add_char(&ref.text, '\n'); /* content always ends in one */
    check_headers(buf_slice(&ref.text), seed);
    buf_release(&ref.text);
    return 0;
}
