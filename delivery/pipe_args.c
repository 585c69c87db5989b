/*
 * Compiles and expands the command line of a pipe transport: see pipe_args.h. Called by pipe.c: compiled when a
 * configuration is taken into use, expanded for each delivery. Owns nothing; everything lives in the caller's arenas.
 * As in Postfix the text is split into arguments first and macros are looked for afterwards, so nothing that comes
 * from a message can make two arguments of one.
 */
#include "delivery/pipe_args.h"

#include "core/base/addr.h"
#include "core/base/assert.h"
#include "core/base/id.h"
#include "core/conf/conf.h"

#include <inttypes.h>

/* One expansion under way: an argument for one recipient, or for none in particular. */
struct expansion {
    const struct pipe_facts *facts;
    const struct envelope_rcpt *rcpt;
    struct buf *out;
};

/* ---- the macros ---- */

static void put_folded(struct buf *out, struct slice text, bool fold)
{
    for (size_t i = 0; i < text.n; i++)
        buf_add_char(out, fold ? ascii_lower(text.p[i]) : text.p[i]);
}

static bool has_flag(const struct expansion *x, unsigned flag)
{
    return (x->facts->flags & flag) != 0;
}

/* A whole address: flag u folds what is before the right-most '@', flag h what is after it, flag q quotes. */
static void put_address(struct expansion *x, const char *address)
{
    struct addr_parts parts = addr_split(slice_str(address));
    struct buf folded = {0};

    put_folded(&folded, parts.local, has_flag(x, CONF_PIPE_FLAG_FOLD_USER));
    if (parts.has_domain) {
        buf_add_char(&folded, '@');
        put_folded(&folded, parts.domain, has_flag(x, CONF_PIPE_FLAG_FOLD_DOMAIN));
    }
    if (has_flag(x, CONF_PIPE_FLAG_QUOTE))
        addr_quote(x->out, buf_slice(&folded));
    else
        buf_add_slice(x->out, buf_slice(&folded));
    buf_release(&folded);
}

static void put_recipient(struct expansion *x)
{
    put_address(x, x->rcpt->addr);
}

static void put_original_recipient(struct expansion *x)
{
    put_address(x, x->rcpt->orig != NULL ? x->rcpt->orig : x->rcpt->addr);
}

static void put_sender(struct expansion *x)
{
    const char *sender = x->facts->message->sender;

    if (sender[0] == '\0')
        sender = x->facts->null_sender;
    if (sender[0] != '\0' && has_flag(x, CONF_PIPE_FLAG_QUOTE))
        addr_quote(x->out, slice_str(sender));
    else
        buf_add_str(x->out, sender);
}

static void put_mailbox(struct expansion *x)
{
    put_folded(x->out, addr_split(slice_str(x->rcpt->addr)).local, has_flag(x, CONF_PIPE_FLAG_FOLD_USER));
}

static void put_user(struct expansion *x)
{
    struct slice user, extension;

    addr_split_extension(addr_split(slice_str(x->rcpt->addr)).local, x->facts->recipient_delimiter, &user, &extension);
    put_folded(x->out, user, has_flag(x, CONF_PIPE_FLAG_FOLD_USER));
}

static void put_extension(struct expansion *x)
{
    struct slice user, extension;

    if (addr_split_extension(addr_split(slice_str(x->rcpt->addr)).local, x->facts->recipient_delimiter, &user,
                             &extension))
        put_folded(x->out, slice_from(extension, 1), has_flag(x, CONF_PIPE_FLAG_FOLD_USER));
}

static void put_domain(struct expansion *x)
{
    put_folded(x->out, addr_split(slice_str(x->rcpt->addr)).domain, has_flag(x, CONF_PIPE_FLAG_FOLD_DOMAIN));
}

static void put_nexthop(struct expansion *x)
{
    put_folded(x->out, slice_str(x->facts->nexthop), has_flag(x, CONF_PIPE_FLAG_FOLD_DOMAIN));
}

static void put_size(struct expansion *x)
{
    buf_printf(x->out, "%" PRIu64, x->facts->message->size);
}

static void put_queue_id(struct expansion *x)
{
    char text[ID_TEXT];

    buf_add_str(x->out, id_format(text, x->facts->message->qid));
}

static void put_text(struct expansion *x, const char *text)
{
    buf_add_slice(x->out, slice_str(text));
}

static void put_client_address(struct expansion *x)
{
    put_text(x, x->facts->message->client_addr);
}

static void put_client_helo(struct expansion *x)
{
    put_text(x, x->facts->message->helo);
}

static void put_client_hostname(struct expansion *x)
{
    put_text(x, x->facts->message->client_name);
}

static void put_client_protocol(struct expansion *x)
{
    put_text(x, x->facts->message->protocol);
}

/* What an envelope does not say is empty, as it is in Postfix for mail that did not come by SMTP. */
static void put_nothing(struct expansion *x)
{
    (void)x;
}

struct macro {
    const char *name;
    void (*put)(struct expansion *);
    bool per_rcpt;
};

static const struct macro macros[] = {
    {"client_address", put_client_address, false},
    {"client_helo", put_client_helo, false},
    {"client_hostname", put_client_hostname, false},
    {"client_port", put_nothing, false},
    {"client_protocol", put_client_protocol, false},
    {"domain", put_domain, true},
    {"extension", put_extension, true},
    {"mailbox", put_mailbox, true},
    {"nexthop", put_nexthop, false},
    {"original_recipient", put_original_recipient, true},
    {"queue_id", put_queue_id, false},
    {"recipient", put_recipient, true},
    {"sasl_method", put_nothing, false},
    {"sasl_sender", put_nothing, false},
    {"sasl_username", put_nothing, false},
    {"sender", put_sender, false},
    {"size", put_size, false},
    {"user", put_user, true},
};

/* ---- compiled form ---- */

struct piece {
    const struct piece *next;
    const struct macro *macro; /* NULL: the text itself */
    struct slice text;
};

struct argument {
    const struct argument *next;
    const struct piece *pieces;
    bool per_rcpt;
};

struct pipe_args {
    const struct argument *first;
    size_t count, per_rcpt; /* arguments; those of them that come once for each recipient */
};

struct compiler {
    struct arena *arena;
    struct buf *err;
};

static bool fail(const struct compiler *c, const char *what, struct slice culprit)
{
    buf_printf(c->err, "%s \"%.*s\" in argv", what, (int)(culprit.n < 100 ? culprit.n : 100), culprit.p);
    return false;
}

/* ---- from text to pieces ---- */

static const struct macro *find_macro(struct slice name)
{
    for (size_t i = 0; i < ARRAY_LEN(macros); i++)
        if (slice_eq(name, slice_str(macros[i].name)))
            return &macros[i];
    return NULL;
}

/* `text` begins with `open`: the length up to and with the `close` that belongs to it; 0 when there is none. */
static size_t balanced(struct slice text, char open, char close)
{
    size_t level = 0;

    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == open)
            level++;
        else if (text.p[i] == close && --level == 0)
            return i + 1;
    }
    return 0;
}

static bool is_name_char(char c)
{
    return ascii_alnum(c) || c == '_';
}

/* Takes $name, ${name} or $(name) off `*text`, whose first byte is the '$'. */
static bool take_macro(const struct compiler *c, struct slice *text, const struct macro **macro)
{
    struct slice rest = slice_from(*text, 1), name;
    size_t n = 0;

    if (rest.n > 0 && (rest.p[0] == '{' || rest.p[0] == '(')) {
        n = balanced(rest, rest.p[0], rest.p[0] == '{' ? '}' : ')');
        if (n == 0)
            return fail(c, "unbalanced macro", *text);
        name = slice_make(rest.p + 1, n - 2);
    } else {
        while (n < rest.n && is_name_char(rest.p[n]))
            n++;
        name = slice_head(rest, n);
    }
    *macro = find_macro(name);
    if (*macro == NULL)
        return fail(c, "unknown macro", slice_make(text->p, n + 1));
    *text = slice_from(rest, n);
    return true;
}

static struct piece *add_piece(const struct compiler *c, const struct piece ***tail)
{
    struct piece *p = ARENA_NEW(c->arena, struct piece);

    **tail = p;
    *tail = &p->next;
    return p;
}

static bool compile_argument(const struct compiler *c, struct slice text, struct argument *arg)
{
    const struct piece **tail = &arg->pieces;

    while (text.n > 0) {
        size_t dollar = slice_find(text, '$');
        struct slice literal = slice_head(text, dollar);

        text = slice_from(text, dollar);
        if (text.n > 1 && text.p[1] == '$') { /* $$ is one of them */
            literal.n++;
            text = slice_from(text, 2);
        }
        if (literal.n > 0) {
            add_piece(c, &tail)->text = literal;
        } else {
            struct piece *p = add_piece(c, &tail);

            if (!take_macro(c, &text, &p->macro))
                return false;
            arg->per_rcpt = arg->per_rcpt || p->macro->per_rcpt;
        }
    }
    return true;
}

/* ---- from text to arguments ---- */

static struct slice trim(struct slice s)
{
    while (s.n > 0 && ascii_space(s.p[0]))
        s = slice_from(s, 1);
    while (s.n > 0 && ascii_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

/* Takes what goes up to the next white space that is in no { }; empty at the end. */
static struct slice take_word(struct slice *rest)
{
    struct slice word;
    size_t n = 0, level = 0;

    *rest = trim(*rest);
    for (; n < rest->n && (level > 0 || !ascii_space(rest->p[n])); n++) {
        if (rest->p[n] == '{')
            level++;
        else if (rest->p[n] == '}' && level > 0)
            level--;
    }
    word = slice_head(*rest, n);
    *rest = slice_from(*rest, n);
    return word;
}

/* A word that begins with { is what is inside, without the white space at its ends. */
static bool strip_braces(const struct compiler *c, struct slice *word)
{
    size_t n;

    if (word->p[0] != '{')
        return true;
    n = balanced(*word, '{', '}');
    if (n == 0)
        return fail(c, "missing } after", *word);
    if (n < word->n)
        return fail(c, "text after the } of", *word);
    *word = trim(slice_make(word->p + 1, n - 2));
    return true;
}

const struct pipe_args *pipe_args_compile(struct arena *arena, const char *argv, struct buf *err)
{
    const struct compiler c = {arena, err};
    struct pipe_args *args = ARENA_NEW(arena, struct pipe_args);
    struct slice rest = slice_str(arena_strdup(arena, argv)), word;
    const struct argument **tail = &args->first;

    while ((word = take_word(&rest)).n > 0) {
        struct argument *arg = ARENA_NEW(arena, struct argument);

        if (!strip_braces(&c, &word) || !compile_argument(&c, word, arg))
            return NULL;
        *tail = arg;
        tail = &arg->next;
        args->count++;
        args->per_rcpt += arg->per_rcpt;
    }
    if (args->count == 0) {
        buf_add_str(err, "argv is empty: a pipe transport needs a command");
        return NULL;
    }
    return args;
}

/* ---- expansion ---- */

/* Does it begin with '-' because a macro does? */
static bool became_option(const struct argument *arg, const char *text)
{
    return text[0] == '-' && arg->pieces->macro != NULL;
}

static char *expand_argument(const struct argument *arg, const struct pipe_facts *facts,
                             const struct envelope_rcpt *rcpt, struct buf *work, struct arena *arena)
{
    struct expansion x = {facts, rcpt, work};

    buf_clear(work);
    for (const struct piece *p = arg->pieces; p != NULL; p = p->next) {
        if (p->macro != NULL)
            p->macro->put(&x);
        else
            buf_add_slice(work, p->text);
    }
    return arena_slice_dup(arena, buf_slice(work));
}

const char **pipe_args_expand(const struct pipe_args *args, const struct pipe_facts *facts, struct arena *arena)
{
    size_t n = 0, room = args->count + args->per_rcpt * facts->nrcpts + 1;
    const char **argv = arena_new_array(arena, room, sizeof *argv);
    struct buf work = {0};
    bool options = false;

    for (const struct argument *arg = args->first; arg != NULL; arg = arg->next) {
        size_t times = arg->per_rcpt ? facts->nrcpts : 1;

        for (size_t i = 0; i < times; i++) {
            argv[n] = expand_argument(arg, facts, arg->per_rcpt ? &facts->rcpts[i] : NULL, &work, arena);
            options = became_option(arg, argv[n++]) || options;
        }
    }
    MTA_ASSERT(n > 0 && n < room);
    buf_release(&work);
    return options && !facts->allow_options ? NULL : argv;
}
