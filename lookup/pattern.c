/*
 * Rules of patterns: see pattern.h. Read when a cidr:, regexp: or pcre: table is opened or has changed; walked with
 * each lookup, for cidr: on the loop, for the others on a pool thread.
 *
 * Postfix leaves out a rule that it cannot use and goes on with the others. Here the whole text is refused then: an
 * "if" that is left out lets its block act on everybody, a REJECT that is left out lets everybody in.
 */
#include "lookup/pattern.h"

#include "core/base/alloc.h"
#include "core/base/arena.h"
#include "core/base/codec.h"
#include "lookup/pattern_value.h"
#include "lookup/text_lines.h"

#include <time.h>

#define NO_RULE SIZE_MAX

enum rule_kind {
    RULE_VALUE,
    RULE_IF,
    RULE_ENDIF,
};

struct condition {
    void *pattern;
    bool negated;
};

struct rule {
    enum rule_kind kind;
    int line;
    struct condition conditions[2]; /* all of them must hold */
    unsigned nconditions;
    struct slice value; /* RULE_VALUE */
    unsigned groups;    /* the largest n of the $n in it; 0: it is taken as it is */
    size_t endif;       /* RULE_IF; while reading, of one that is open: the next outer one that is open */
};

struct pattern_rules {
    const struct pattern_engine *engine;
    unsigned refs;
    struct arena arena;
    struct rule *rules;
    size_t count, cap;
    unsigned groups; /* of any rule */
};

/* ---- reading ---- */

struct reader {
    struct pattern_rules *rules;
    struct buf why;
    size_t open; /* the innermost RULE_IF without its endif */
};

/* A pattern as it stands in a line. */
struct written {
    struct slice text;
    unsigned flags;
    bool negated;
};

static bool is_keyword(struct slice line, struct slice word)
{
    return slice_istarts(line, word) && (line.n == word.n || !ascii_alnum(line.p[word.n]));
}

static struct slice skip_space(struct slice s)
{
    while (s.n > 0 && ascii_space(s.p[0]))
        s = slice_from(s, 1);
    return s;
}

static bool take_word(struct slice *line, struct written *w)
{
    size_t n = 0;

    while (n < line->n && !ascii_space(line->p[n]))
        n++;
    w->text = slice_head(*line, n);
    *line = slice_from(*line, n);
    return true;
}

static bool take_flags(struct reader *r, struct slice *line, struct written *w)
{
    const struct pattern_engine *e = r->rules->engine;

    w->flags = e->default_flags;
    for (; line->n > 0 && !ascii_space(line->p[0]); *line = slice_from(*line, 1)) {
        const struct pattern_flag *flag = e->flags;

        if (line->p[0] == '!' && e->two_patterns)
            return true;
        while (flag->letter != '\0' && flag->letter != line->p[0])
            flag++;
        if (flag->letter == '\0') {
            buf_printf(&r->why, "there is no flag \"%c\" for a pattern", line->p[0]);
            return false;
        }
        w->flags ^= flag->bits;
    }
    return true;
}

/* A pattern between delimiters, with its flags. A delimiter after a backslash is part of the pattern. */
static bool take_delimited(struct reader *r, struct slice *line, struct written *w)
{
    char delimiter = line->p[0];
    size_t i = 1;

    while (i < line->n && line->p[i] != delimiter)
        i += line->p[i] == '\\' ? 2 : 1;
    if (i >= line->n) {
        buf_printf(&r->why, "the closing \"%c\" of the pattern is missing", delimiter);
        return false;
    }
    w->text = slice_make(line->p + 1, i - 1);
    *line = slice_from(*line, i + 1);
    return take_flags(r, line, w);
}

static bool take_pattern(struct reader *r, struct slice *line, struct written *w)
{
    *w = (struct written){0};
    for (; line->n > 0 && (line->p[0] == '!' || ascii_space(line->p[0])); *line = slice_from(*line, 1))
        w->negated ^= line->p[0] == '!';
    if (line->n == 0) {
        buf_add_str(&r->why, "there is no pattern");
        return false;
    }
    return r->rules->engine->flags == NULL ? take_word(line, w) : take_delimited(r, line, w);
}

static struct rule *add_rule(struct reader *r, enum rule_kind kind, int line)
{
    struct pattern_rules *rules = r->rules;

    if (rules->count == rules->cap) {
        rules->cap = rules->cap == 0 ? 32 : rules->cap * 2;
        rules->rules = mem_resize(rules->rules, rules->cap * sizeof *rules->rules);
    }
    rules->rules[rules->count] = (struct rule){.kind = kind, .line = line};
    return &rules->rules[rules->count++];
}

static bool add_condition(struct reader *r, struct rule *rule, const struct written *w)
{
    const struct pattern_engine *e = r->rules->engine;
    struct arena *arena = &r->rules->arena;
    bool captures = rule->groups > 0 && rule->nconditions == 0;
    struct pattern_text text = {.text = arena_slice_dup(arena, w->text), .flags = w->flags, .captures = captures};
    struct condition *c = &rule->conditions[rule->nconditions++];
    unsigned groups = 0;

    c->pattern = arena_new(arena, e->size);
    c->negated = w->negated;
    if (!e->compile(c->pattern, &text, &groups, &r->why))
        return false;
    if (captures && rule->groups > groups) {
        buf_printf(&r->why, "$%u is used, and the pattern has %u groups", rule->groups, groups);
        return false;
    }
    return true;
}

/* What follows the patterns of a rule. */
static bool take_value(struct reader *r, struct rule *rule, struct slice value, bool negated)
{
    const struct pattern_engine *e = r->rules->engine;
    struct buf literal = {0};
    bool ok = value.n > 0 || e->empty_value;

    if (!ok)
        buf_add_str(&r->why, "there is no result after the pattern");
    if (ok && e->flags != NULL) {
        ok = pattern_value_scan(value, &rule->groups, &literal, &r->why);
        if (ok && rule->groups == 0)
            value = buf_slice(&literal);
    }
    if (ok && rule->groups > 0 && negated) {
        buf_printf(&r->why, "$%u is used, and the pattern is negated: it has no groups", rule->groups);
        ok = false;
    }
    rule->value = slice_make(arena_slice_dup(&r->rules->arena, value), value.n);
    if (rule->groups > r->rules->groups)
        r->rules->groups = rule->groups;
    buf_release(&literal);
    return ok;
}

static bool read_value_rule(struct reader *r, struct slice line, int number)
{
    struct written first, second = {0};
    struct rule *rule;

    if (r->rules->engine->flags != NULL && ascii_alnum(line.p[0])) {
        buf_add_str(&r->why, "not of the form /pattern/flags result, if /pattern/, endif");
        return false;
    }
    if (!take_pattern(r, &line, &first))
        return false;
    if (line.n > 0 && line.p[0] == '!' && !take_pattern(r, &line, &second))
        return false;
    rule = add_rule(r, RULE_VALUE, number);
    return take_value(r, rule, skip_space(line), first.negated) && add_condition(r, rule, &first) &&
           (second.text.p == NULL || add_condition(r, rule, &second));
}

/* Indented lines go on with the line before: to Postfix too they are text after the "if". */
static bool nothing_follows(struct reader *r, struct slice line, const char *word)
{
    line = skip_space(line);
    if (line.n == 0)
        return true;
    buf_printf(&r->why, "text after %s, \"%.40s\": rules between if and endif must not be indented", word,
               arena_slice_dup(&r->rules->arena, line));
    return false;
}

static bool read_if(struct reader *r, struct slice line, int number)
{
    struct written w;
    struct rule *rule = add_rule(r, RULE_IF, number);

    rule->endif = r->open;
    r->open = r->rules->count - 1;
    return take_pattern(r, &line, &w) && nothing_follows(r, line, "if") && add_condition(r, rule, &w);
}

static bool read_endif(struct reader *r, struct slice line, int number)
{
    struct pattern_rules *rules = r->rules;
    size_t outer;

    if (r->open == NO_RULE) {
        buf_add_str(&r->why, "endif without an if before it");
        return false;
    }
    add_rule(r, RULE_ENDIF, number);
    outer = rules->rules[r->open].endif;
    rules->rules[r->open].endif = rules->count - 1;
    r->open = outer;
    return nothing_follows(r, line, "endif");
}

static bool read_line(struct reader *r, struct slice line, int number)
{
    if (ascii_space(line.p[0]))
        buf_add_str(&r->why, "the first line must not begin with white space");
    else if (memchr(line.p, '\0', line.n) != NULL)
        buf_add_str(&r->why, "holds a NUL character");
    else if (is_keyword(line, SLICE_LIT("if")))
        return read_if(r, slice_from(line, 2), number);
    else if (is_keyword(line, SLICE_LIT("endif")))
        return read_endif(r, slice_from(line, 5), number);
    else
        return read_value_rule(r, line, number);
    return false;
}

static void warn_of_empty(struct reader *r, const char *place, struct buf *report)
{
    const struct rule *last = r->rules->count > 0 ? &r->rules->rules[r->rules->count - 1] : NULL;

    if (last != NULL && last->kind == RULE_VALUE && last->value.n == 0)
        buf_printf(report, "warning: %s:%d: no result after the pattern: it is the empty string\n", place, last->line);
}

static bool read_lines(struct reader *r, const char *place, struct slice text, struct buf *report)
{
    struct text_lines lines;
    struct slice line;
    bool ok = true;

    text_lines_start(&lines, text);
    while (text_lines_next(&lines, &line)) {
        struct slice trimmed = line;

        while (ascii_space(trimmed.p[trimmed.n - 1]))
            trimmed.n--;
        buf_clear(&r->why);
        if (read_line(r, trimmed, lines.line)) {
            warn_of_empty(r, place, report);
        } else {
            buf_printf(report, "%s:%d: %s\n", place, lines.line, buf_cstr(&r->why));
            ok = false;
        }
    }
    text_lines_end(&lines);
    for (size_t i = r->open; i != NO_RULE; i = r->rules->rules[i].endif) {
        buf_printf(report, "%s:%d: the endif of this if is missing\n", place, r->rules->rules[i].line);
        ok = false;
    }
    return ok;
}

struct pattern_rules *pattern_rules_parse(const struct pattern_engine *engine, const char *place, struct slice text,
                                          struct buf *report)
{
    struct reader r = {.rules = NEW(struct pattern_rules), .open = NO_RULE};

    r.rules->engine = engine;
    r.rules->refs = 1;
    if (!read_lines(&r, place, text, report))
        pattern_rules_unref(&r.rules);
    buf_release(&r.why);
    return r.rules;
}

struct pattern_rules *pattern_rules_ref(struct pattern_rules *rules)
{
    rules->refs++;
    return rules;
}

static void release_conditions(struct pattern_rules *rules, struct rule *rule)
{
    for (unsigned i = 0; i < rule->nconditions; i++)
        rules->engine->release(rule->conditions[i].pattern);
}

void pattern_rules_unref(struct pattern_rules **rulesp)
{
    struct pattern_rules *rules = *rulesp;

    *rulesp = NULL;
    if (rules == NULL || --rules->refs > 0)
        return;
    for (size_t i = 0; i < rules->count; i++)
        release_conditions(rules, &rules->rules[i]);
    mem_free(rules->rules);
    arena_clear(&rules->arena);
    mem_free(rules);
}

const struct pattern_engine *pattern_rules_engine(const struct pattern_rules *rules)
{
    return rules->engine;
}

/* ---- the walk ---- */

uint64_t pattern_clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Do the conditions of the rule hold? PATTERN_YES, PATTERN_NO or PATTERN_FAILED. */
static enum pattern_match holds(const struct pattern_rules *rules, const struct rule *rule, struct pattern_subject *s)
{
    for (unsigned i = 0; i < rule->nconditions; i++) {
        const struct condition *c = &rule->conditions[i];
        enum pattern_match m = rules->engine->match(c->pattern, s, i == 0 ? rule->groups : 0);

        if (m == PATTERN_FAILED)
            return m;
        if (m != (c->negated ? PATTERN_NO : PATTERN_YES))
            return PATTERN_NO;
    }
    return PATTERN_YES;
}

static enum op_status fail(struct buf *out, const struct rule *rule, const char *why)
{
    buf_clear(out);
    buf_printf(out, "line %d: %s", rule->line, why);
    return OP_TEMPFAIL;
}

static enum op_status answer(const struct rule *rule, const struct pattern_subject *s, struct buf *out)
{
    bool fits = rule->groups == 0 ? buf_add_slice(out, rule->value) : pattern_value_expand(rule->value, s, out);

    if (!fits)
        return fail(out, rule, "the answer is too long");
    /* "$1" may be half a character. */
    return codec_utf8_valid(buf_slice(out)) ? OP_OK : fail(out, rule, "the answer is not UTF-8");
}

static enum op_status walk(const struct pattern_rules *rules, struct pattern_subject *s, uint64_t deadline_ms,
                           struct buf *out)
{
    for (size_t i = 0; i < rules->count; i++) {
        const struct rule *rule = &rules->rules[i];
        enum pattern_match m = holds(rules, rule, s);

        if (m == PATTERN_FAILED)
            return fail(out, rule, s->why);
        if (m == PATTERN_YES && rule->kind == RULE_VALUE)
            return answer(rule, s, out);
        if (m == PATTERN_NO && rule->kind == RULE_IF)
            i = rule->endif;
        if (rules->engine->parallel > 0 && pattern_clock_ms() > deadline_ms)
            return fail(out, rule, "matching up to here took too long");
    }
    return OP_NOTFOUND;
}

enum op_status pattern_rules_find(struct pattern_rules *rules, const char *key, uint64_t deadline_ms, struct buf *out)
{
    struct pattern_subject subject = {.key = slice_str(key)};
    enum op_status status = OP_NOTFOUND;

    subject.spans = mem_new_array(rules->groups + 1, sizeof *subject.spans);
    if (rules->engine->begin == NULL || rules->engine->begin(&subject, rules->groups))
        status = walk(rules, &subject, deadline_ms, out);
    if (rules->engine->end != NULL)
        rules->engine->end(&subject);
    mem_free(subject.spans);
    return status;
}
