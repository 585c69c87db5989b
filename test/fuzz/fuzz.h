/*
 * What the drivers share. A driver takes an input apart, calls the code under test, and asserts what must hold of the
 * result: MTA_ASSERT aborts, which libFuzzer reports with the input. The first bytes of an input are options, in
 * printable characters where that is possible, so that the files of the corpus can be read.
 */
#ifndef TEST_FUZZ_FUZZ_H
#define TEST_FUZZ_FUZZ_H

#include "core/base/alloc.h"
#include "core/base/arena.h"
#include "core/base/assert.h"
#include "core/base/buf.h"
#include "core/base/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* Takes a byte off the input; 0 at its end. */
static inline unsigned fuzz_byte(struct slice *in)
{
    unsigned byte = in->n > 0 ? (unsigned char)in->p[0] : 0;

    *in = slice_from(*in, 1);
    return byte;
}

/* A copy of its own, so that ASan sees who reads past the end; to be released with mem_free. */
static inline struct slice fuzz_copy(struct slice s, char **memory)
{
    *memory = mem_new(s.n > 0 ? s.n : 1);
    if (s.n > 0)
        memcpy(*memory, s.p, s.n);
    return slice_make(*memory, s.n);
}

/* Is `part` within `whole`? An empty slice may be anywhere. */
static inline bool fuzz_within(struct slice part, struct slice whole)
{
    return part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

/* Neither control characters nor malformed UTF-8. */
static inline bool fuzz_clean(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 32 || s.p[i] == 127)
            return false;
    return codec_utf8_valid(s);
}

static inline bool fuzz_same(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

#endif
