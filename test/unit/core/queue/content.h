/* Content of any size and how to check it, due recipients, rows: what the tests of queue.h share. */
#ifndef TEST_QUEUE_CONTENT_H
#define TEST_QUEUE_CONTENT_H

#include "unit/core/queue/fixture.h"

struct content {
    struct answer answer;
    char *bytes; /* in the fixture's arena */
    size_t n;
    bool last;
};

static inline void on_piece(void *owner, enum op_status status, const void *result)
{
    struct content *c = owner;
    const struct queue_piece *piece = result;

    if (status == OP_OK) {
        c->bytes = arena_slice_dup(&c->answer.f->arena, piece->bytes);
        c->n = piece->bytes.n;
        c->last = piece->last;
    } else {
        c->answer.why = *(const struct status *)result;
    }
    stop_waiting(&c->answer, status);
}

static inline struct content read_piece(struct fixture *f, uint64_t qid, unsigned index)
{
    struct content c = {.answer.f = f};

    queue_read(f->queue, &f->scope, qid, index, on_piece, &c);
    await(&c.answer);
    return c;
}

static inline char byte_at(size_t i)
{
    return (char)('a' + (i * 7 + i / 65536) % 26);
}

static inline void write_pattern(struct queue_writer *w, size_t size, size_t step)
{
    char *part = mem_new(step);

    for (size_t at = 0; at < size;) {
        size_t n = size - at < step ? size - at : step;

        for (size_t i = 0; i < n; i++)
            part[i] = byte_at(at + i);
        queue_write(w, slice_make(part, n));
        at += n;
    }
    mem_free(part);
}

static inline void check_pattern(struct fixture *f, uint64_t qid, size_t size)
{
    size_t at = 0;

    for (unsigned index = 0;; index++) {
        struct content c = read_piece(f, qid, index);

        assert_int_equal(c.answer.status, OP_OK);
        for (size_t i = 0; i < c.n; i++)
            if (c.bytes[i] != byte_at(at + i))
                fail_msg("byte %zu of %zu differs", at + i, size);
        at += c.n;
        if (c.last)
            break;
    }
    assert_int_equal(at, size);
}

struct due {
    struct answer answer;
    size_t count, nrcpts, nreports;
    uint64_t next_us;
    const struct envelope *first; /* in the fixture's arena */
};

static inline void on_due(void *owner, enum op_status status, const void *result)
{
    struct due *d = owner;
    const struct queue_batch *batch = result;

    assert_int_equal(status, OP_OK);
    d->count = batch->count;
    d->nreports = batch->nreports;
    d->next_us = batch->next_due_us;
    for (size_t i = 0; i < batch->count; i++)
        d->nrcpts += batch->messages[i]->nrcpts;
    if (batch->count > 0)
        d->first = envelope_copy(&d->answer.f->arena, batch->messages[0]);
    stop_waiting(&d->answer, status);
}

static inline struct due load(struct fixture *f, uint64_t now_us)
{
    struct queue_due query = {.now_us = now_us, .horizon_us = now_us + 3600000000, .limit = 1000000, .reports = true};
    struct due d = {.answer.f = f};

    queue_load_due(f->queue, &f->scope, &query, on_due, &d);
    await(&d.answer);
    return d;
}

static inline long long rows(struct fixture *f)
{
    return fixture_sql(f, "SELECT (SELECT count(*) FROM message) + (SELECT count(*) FROM body)"
                          " + (SELECT count(*) FROM content) + (SELECT count(*) FROM incoming)"
                          " + (SELECT count(*) FROM rcpt)");
}

#endif
