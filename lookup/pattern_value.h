/* Results of pattern rules with their $1, ${1}, $(1) and $$: regexp_table(5), "text substitution". Pure. */
#ifndef MTA_LOOKUP_PATTERN_VALUE_H
#define MTA_LOOKUP_PATTERN_VALUE_H

#include "lookup/pattern.h"

/*
 * Reads a value: *largest is the largest n of its $n, 0 when there is none; then `literal` is what it stands for.
 * False, and why, when it is malformed.
 */
bool pattern_value_scan(struct slice value, unsigned *largest, struct buf *literal, struct buf *why);
/* Appends the value with its substitutions; false when the limit of `out` is reached. */
bool pattern_value_expand(struct slice value, const struct pattern_subject *, struct buf *out);

#endif
