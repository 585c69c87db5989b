/*
 * pcre:FILE, pcre_table(5): Perl's regular expressions by PCRE2, on bytes as in Postfix.
 *
 * The library bounds its own work: MATCH_LIMIT steps, Postfix's number too, are a tenth of a second of its interpreter,
 * HEAP_LIMIT_KB the memory for backtracking. A key that takes more is a failure, never "does not match". The compiled
 * code is used where the system allows it (some forbid memory that is written and executed) and its stack is enough.
 */
#include "lookup/table_pattern.h"

#include "core/base/alloc.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define MATCH_LIMIT   10000000
#define DEPTH_LIMIT   10000000 /* only nested recursion counts: the heap is the limit */
#define HEAP_LIMIT_KB 20000

struct expression {
    pcre2_code *code;
};

/* One lookup's. */
struct scratch {
    pcre2_match_data *data;
    pcre2_match_context *context;
};

static bool compile(void *pattern, const struct pattern_text *text, unsigned *groups, struct buf *why)
{
    struct expression *e = pattern;
    PCRE2_UCHAR message[160];
    PCRE2_SIZE offset;
    uint32_t count = 0;
    int error;

    e->code = pcre2_compile((PCRE2_SPTR)text->text, PCRE2_ZERO_TERMINATED, text->flags, &error, &offset, NULL);
    if (e->code == NULL) {
        pcre2_get_error_message(error, message, sizeof message);
        buf_printf(why, "the pattern is malformed at offset %zu: %s", (size_t)offset, (const char *)message);
        return false;
    }
    pcre2_jit_compile(e->code, PCRE2_JIT_COMPLETE); /* or it is interpreted */
    pcre2_pattern_info(e->code, PCRE2_INFO_CAPTURECOUNT, &count);
    *groups = count;
    return true;
}

static void release(void *pattern)
{
    struct expression *e = pattern;

    pcre2_code_free(e->code);
}

static bool begin(struct pattern_subject *s, unsigned groups)
{
    struct scratch *scratch = NEW(struct scratch);

    scratch->data = pcre2_match_data_create(groups + 1, NULL);
    scratch->context = pcre2_match_context_create(NULL);
    MTA_ASSERT(scratch->data != NULL && scratch->context != NULL); /* out of memory */
    pcre2_set_match_limit(scratch->context, MATCH_LIMIT);
    pcre2_set_depth_limit(scratch->context, DEPTH_LIMIT);
    pcre2_set_heap_limit(scratch->context, HEAP_LIMIT_KB);
    s->scratch = scratch;
    return true;
}

static void end(struct pattern_subject *s)
{
    struct scratch *scratch = s->scratch;

    pcre2_match_data_free(scratch->data);
    pcre2_match_context_free(scratch->context);
    mem_free(scratch);
}

static int try_match(const struct expression *e, const struct pattern_subject *s, uint32_t options)
{
    const struct scratch *scratch = s->scratch;

    return pcre2_match(e->code, (PCRE2_SPTR)s->key.p, s->key.n, 0, options, scratch->data, scratch->context);
}

/* `set`: one more than the highest group that took part. */
static void fill_spans(struct pattern_subject *s, unsigned groups, unsigned set)
{
    const struct scratch *scratch = s->scratch;
    const PCRE2_SIZE *ovector = pcre2_get_ovector_pointer(scratch->data);

    for (unsigned i = 1; i <= groups; i++) {
        size_t start = ovector[2 * i], stop = ovector[2 * i + 1];

        /* \K in a look-behind may put the end before the start. */
        s->spans[i] = i >= set || start == PCRE2_UNSET || stop < start ? (struct pattern_span){0, 0}
                                                                       : (struct pattern_span){start, stop};
    }
}

static enum pattern_match match(void *pattern, struct pattern_subject *s, unsigned groups)
{
    const struct expression *e = pattern;
    int result = try_match(e, s, 0);

    if (result == PCRE2_ERROR_JIT_STACKLIMIT)
        result = try_match(e, s, PCRE2_NO_JIT);
    if (result == PCRE2_ERROR_NOMATCH)
        return PATTERN_NO;
    if (result < 0) {
        pcre2_get_error_message(result, (PCRE2_UCHAR *)s->why_text, sizeof s->why_text);
        s->why = s->why_text;
        return PATTERN_FAILED;
    }
    /* 0: there are more groups than are used. */
    fill_spans(s, groups, result == 0 ? groups + 1 : (unsigned)result);
    return PATTERN_YES;
}

static const struct pattern_flag flags[] = {
    {'i', PCRE2_CASELESS},
    {'m', PCRE2_MULTILINE},
    {'s', PCRE2_DOTALL},
    {'x', PCRE2_EXTENDED},
    {'A', PCRE2_ANCHORED},
    {'E', PCRE2_DOLLAR_ENDONLY},
    {'U', PCRE2_UNGREEDY},
    {'X', 0}, /* what X asked of the first PCRE, PCRE2 always does */
    {'\0', 0},
};

static const struct pattern_engine engine = {
    .flags = flags,
    .default_flags = PCRE2_CASELESS | PCRE2_DOTALL,
    .empty_value = true,
    .parallel = 4, /* of the 16 threads that all tables share */
    .size = sizeof(struct expression),
    .compile = compile,
    .release = release,
    .begin = begin,
    .end = end,
    .match = match,
};

TABLE_PATTERN_KIND(pcre);
