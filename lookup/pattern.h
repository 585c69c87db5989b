/*
 * Rules of patterns, as cidr_table(5), regexp_table(5) and pcre_table(5) have them: one reader of their text and one
 * walk over the rules; what a pattern is, an engine says. Not for others than the kinds of tables.
 */
#ifndef MTA_LOOKUP_PATTERN_H
#define MTA_LOOKUP_PATTERN_H

#include "core/base/buf.h"
#include "core/base/ip.h"
#include "core/loop/op.h"

struct pattern_rules;

struct pattern_span {
    size_t start, end; /* equal: empty, or it took no part in the match */
};

/* What the patterns are matched against. */
struct pattern_subject {
    struct slice key;           /* a NUL follows it */
    struct ip ip;               /* for cidr: */
    struct pattern_span *spans; /* what $1, $2, ... of the last match are: [1], [2], ... */
    void *scratch;              /* for pcre: */
    const char *why;            /* PATTERN_FAILED */
    char why_text[128];
};

/* A pattern as it is written, without its delimiters. */
struct pattern_text {
    const char *text; /* NUL-terminated, lives as long as the rules */
    unsigned flags;
    bool captures; /* $1 and so on are used */
};

struct pattern_flag {
    char letter;
    unsigned bits; /* that it toggles */
};

enum pattern_match {
    PATTERN_NO,
    PATTERN_YES,
    PATTERN_NEITHER, /* not comparable: neither the pattern nor its negation fits */
    PATTERN_FAILED,
};

struct pattern_engine {
    const struct pattern_flag *flags; /* the letters after /pattern/, up to '\0'; NULL: a pattern is a word */
    unsigned default_flags;
    bool two_patterns; /* there may be "/pattern/!/pattern/" */
    bool empty_value;  /* a rule without a result answers the empty string, with a warning */
    unsigned parallel; /* matches at a time on pool threads; 0: it is quick, and works on the loop */
    size_t size;       /* of a compiled pattern */
    /* Compiles into zeroed memory. *groups: how many there are in the pattern. False, and why. Any thread. */
    bool (*compile)(void *pattern, const struct pattern_text *, unsigned *groups, struct buf *why);
    /* Also for a pattern that could not be compiled. */
    void (*release)(void *pattern);
    /* Makes the subject ready, for patterns of up to `groups` groups; false: it is in no rule. */
    bool (*begin)(struct pattern_subject *, unsigned groups);
    void (*end)(struct pattern_subject *);
    /* Fills in spans[1] to spans[groups]. */
    enum pattern_match (*match)(void *pattern, struct pattern_subject *, unsigned groups);
};

/*
 * Makes rules of a text; complaints go to `report` as "PLACE:LINE: text", warnings with "warning: " before. NULL when
 * there is an error: a table of which a rule is left out may let in what it was to keep out. Any thread.
 */
struct pattern_rules *pattern_rules_parse(const struct pattern_engine *, const char *place, struct slice text,
                                          struct buf *report);
/* Counted references; loop thread only. The last one releases. Nulls the pointer; NULL in it is fine. */
struct pattern_rules *pattern_rules_ref(struct pattern_rules *);
void pattern_rules_unref(struct pattern_rules **);
const struct pattern_engine *pattern_rules_engine(const struct pattern_rules *);
/*
 * Walks the rules. OP_OK: `out` is the value; OP_NOTFOUND; OP_TEMPFAIL: `out` says why. Gives up (TEMPFAIL) between two
 * rules when the monotonic clock is past deadline_ms. Any thread; for regexp one at a time on the same rules.
 */
enum op_status pattern_rules_find(struct pattern_rules *, const char *key, uint64_t deadline_ms, struct buf *out);
/* The clock of deadline_ms. */
uint64_t pattern_clock_ms(void);

#endif
