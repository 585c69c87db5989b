/*
 * smtpd_sasl_type = table: PLAIN (RFC 4616) and LOGIN over smtpd_sasl_password_maps, which have a login's stored
 * password (auth_hash.h). A back end of auth.c. Waits for the tables, then for a worker thread that computes the hash.
 *
 * Who does not exist costs as much as who does: a hash of the kind that was seen last is computed for nothing. What
 * was decoded of a password is wiped when its exchange is over.
 */
#include "core/base/alloc.h"
#include "core/base/codec.h"
#include "core/loop/work.h"
#include "lookup/maps.h"
#include "proto/auth/auth_hash.h"
#include "proto/auth/auth_int.h"

#include <stdio.h>

#define AT_ONCE    4   /* hashes that are computed at the same time: other work needs threads too */
#define LOGIN_MAX  320 /* bytes: a local part, @, a domain */
#define STORED_MAX 512 /* a longer stored password is not kept as the model of a dummy */

/* SHA512-CRYPT of nothing anybody knows: what an unknown user costs until the table has answered for one. */
#define FIRST_DUMMY                                                                                                    \
    "$6$vYgrbcAEdMNxoOVs$"                                                                                             \
    "......................................................................................"

#define USERNAME_PROMPT "VXNlcm5hbWU6" /* "Username:" */
#define PASSWORD_PROMPT "UGFzc3dvcmQ6" /* "Password:" */

struct backend {
    unsigned refs;       /* its exchanges, requests and jobs hold one each */
    unsigned running;    /* jobs on worker threads */
    struct list waiting; /* struct request */
    struct loop *loop;
    struct maps *maps;
    char *local_domain;
    char dummy[STORED_MAX];
};

struct request;

struct exchange {
    struct backend *backend; /* a reference */
    bool plain;              /* else LOGIN */
    char *login;             /* LOGIN: NULL until it has come */
    struct request *request; /* under way; NULL: none */
};

/* One step of an exchange. */
struct request {
    struct op op;
    struct backend *backend;   /* a reference */
    struct exchange *exchange; /* NULL once it is over */
    struct op_scope scope;
    char *login, *password;
    struct list turn; /* waits for a thread, with its job */
    struct job *job;
    struct auth_answer answer;
    struct buf reason;
};

/* What the worker thread works on. */
struct job {
    struct backend *backend; /* a reference, once it is on its way */
    char *stored, *password;
    bool dummy;
    enum auth_hash_verdict verdict;
};

/* ---- small parts ---- */

static void wipe(char **text)
{
    if (*text != NULL)
        explicit_bzero(*text, strlen(*text));
    mem_free(*text);
    *text = NULL;
}

static void backend_unref(struct backend *b)
{
    if (--b->refs > 0)
        return;
    maps_free(&b->maps);
    mem_free(b->local_domain);
    explicit_bzero(b->dummy, sizeof b->dummy); /* somebody's */
    mem_free(b);
}

/* A decoded response; NUL bytes may be in it. To be released by wipe_buf. */
static struct buf decode(const char *base64)
{
    struct buf text = {0};

    buf_reserve(&text, strlen(base64) + 1);
    codec_base64_decode(&text, slice_str(base64)); /* auth.c has made sure that it can be */
    return text;
}

static void wipe_buf(struct buf *text)
{
    explicit_bzero(text->data, text->cap);
    buf_release(text);
}

static void start_next(struct backend *);

/* Called from the loop, also when nobody waits for it any more. */
static void job_free(void *arg)
{
    struct job *j = arg;

    wipe(&j->stored);
    wipe(&j->password);
    if (j->backend != NULL) {
        j->backend->running--;
        start_next(j->backend);
        backend_unref(j->backend);
    }
    mem_free(j);
}

/* ---- requests ---- */

static void release(struct op *op)
{
    struct request *r = (struct request *)op;

    if (r->exchange != NULL)
        r->exchange->request = NULL;
    op_scope_close(&r->scope);
    list_remove(&r->turn);
    if (r->job != NULL)
        job_free(r->job);
    wipe(&r->password);
    mem_free(r->login);
    buf_release(&r->reason);
    backend_unref(r->backend);
    mem_free(r);
}

static void abandoned(struct op *op)
{
    struct request *r = (struct request *)op;

    op_scope_close(&r->scope);
    list_remove(&r->turn);
    op_finish(op, OP_OK, &r->answer);
}

static struct request *request_new(struct exchange *x, struct op_scope *scope, op_done_fn *done, void *owner)
{
    struct request *r = NEW(struct request);

    r->backend = x->backend;
    r->backend->refs++;
    r->exchange = x;
    x->request = r;
    r->answer = (struct auth_answer){.outcome = AUTH_FAILED, .text = "", .user = "", .reason = ""};
    op_scope_init_within(&r->scope, "auth table", scope);
    op_start(&r->op, r->backend->loop, scope, "auth table", 0, done, owner, release);
    r->op.abandoned = abandoned;
    return r;
}

static void finish(struct request *r, enum auth_outcome outcome, const char *reason)
{
    r->answer.outcome = outcome;
    r->answer.reason = reason;
    if (r->login != NULL)
        r->answer.user = r->login;
    op_finish(&r->op, OP_OK, &r->answer);
}

static void challenge(struct request *r, const char *text)
{
    r->answer.text = text;
    finish(r, AUTH_CHALLENGE, "");
}

/* ---- the password ---- */

static enum op_status check_on_thread(void *arg)
{
    struct job *j = arg;

    j->verdict = auth_hash_check(j->stored, j->password);
    return OP_OK;
}

/* What was computed for a real user is the model of what is computed for the next who does not exist. */
static void remember(struct backend *b, const struct job *j)
{
    if (!j->dummy && j->verdict != AUTH_HASH_UNSUPPORTED && strlen(j->stored) < sizeof b->dummy)
        snprintf(b->dummy, sizeof b->dummy, "%s", j->stored);
}

static void on_checked(void *owner, enum op_status status, const void *result)
{
    struct request *r = owner;
    const struct job *j = result;

    if (status == OP_OK)
        remember(r->backend, j);
    if (status != OP_OK) {
        finish(r, AUTH_UNAVAILABLE, "no worker thread");
    } else if (j->verdict == AUTH_HASH_UNSUPPORTED && !j->dummy) {
        buf_printf(&r->reason, "the stored password of %s has the scheme ", r->login);
        auth_hash_scheme(j->stored, &r->reason);
        buf_add_str(&r->reason, ", which is not supported");
        finish(r, AUTH_UNAVAILABLE, buf_cstr(&r->reason));
    } else if (j->verdict == AUTH_HASH_RIGHT && !j->dummy) {
        finish(r, AUTH_SUCCEEDED, "");
    } else {
        finish(r, AUTH_FAILED, "");
    }
}

/* The jobs whose turn it is, first come first served. */
static void start_next(struct backend *b)
{
    struct list *it;

    while (b->running < AT_ONCE && (it = list_shift(&b->waiting)) != NULL) {
        struct request *r = LIST_ITEM(it, struct request, turn);
        struct job *j = r->job;

        r->job = NULL;
        j->backend = b;
        b->refs++;
        b->running++;
        work_run(b->loop, &r->scope, "password", 0, check_on_thread, j, job_free, on_checked, r);
    }
}

static void compute(struct request *r, const char *stored, bool dummy)
{
    struct job *j = NEW(struct job);

    j->stored = mem_strdup(stored);
    j->password = r->password;
    r->password = NULL;
    j->dummy = dummy;
    r->job = j;
    list_append(&r->backend->waiting, &r->turn);
    start_next(r->backend);
}

static void on_stored(void *owner, enum op_status status, const void *result)
{
    struct request *r = owner;
    const struct table_answer *answer = result;

    if (status == OP_OK && r->password[0] != '\0') {
        compute(r, answer->value, false);
    } else if (status == OP_OK || status == OP_NOTFOUND) {
        compute(r, r->backend->dummy, true); /* an empty password is nobody's */
    } else {
        buf_add_str(&r->reason, answer != NULL && answer->why != NULL ? answer->why : "timed out");
        finish(r, AUTH_UNAVAILABLE, buf_cstr(&r->reason));
    }
}

/* Takes both. A login is one in any case of its letters, as it is for the tables. */
static void check(struct request *r, char *login, char *password)
{
    struct backend *b = r->backend;
    bool whole = strchr(login, '@') != NULL || b->local_domain[0] == '\0';

    r->password = password;
    r->login = whole ? mem_strdup(login) : mem_printf("%s@%s", login, b->local_domain);
    mem_free(login);
    for (char *c = r->login; *c != '\0'; c++)
        *c = ascii_lower(*c);
    maps_find(b->maps, &r->scope, slice_str(r->login), on_stored, r);
}

/* ---- the mechanisms ---- */

/* A login is one line of text. */
static bool is_login(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 32 || s.p[i] == 127)
            return false;
    return s.n > 0 && s.n <= LOGIN_MAX && codec_utf8_valid(s);
}

/* [authzid] NUL authcid NUL passwd */
static void plain(struct request *r, const char *response)
{
    struct buf text = decode(response);
    struct slice s = buf_slice(&text), authzid = slice_head(s, slice_find(s, '\0')), login, password;

    login = slice_from(s, authzid.n + 1);
    password = slice_find(login, '\0') == SLICE_NOT_FOUND ? SLICE_EMPTY : slice_from(login, slice_find(login, '\0'));
    login = slice_head(login, slice_find(login, '\0'));
    if (password.n == 0 || slice_find(slice_from(password, 1), '\0') != SLICE_NOT_FOUND || !is_login(login)) {
        finish(r, AUTH_MALFORMED, "not a message of PLAIN");
    } else if (authzid.n > 0 && !slice_eq(authzid, login)) {
        r->login = mem_dup(login.p, login.n);
        finish(r, AUTH_FAILED, "nobody may act as somebody else");
    } else
        check(r, mem_dup(login.p, login.n), mem_dup(password.p + 1, password.n - 1));
    wipe_buf(&text);
}

static void login_name(struct request *r, const char *response)
{
    struct buf text = decode(response);

    if (is_login(buf_slice(&text))) {
        r->exchange->login = mem_dup(text.data, buf_len(&text));
        challenge(r, PASSWORD_PROMPT);
    } else
        finish(r, AUTH_MALFORMED, "not a login");
    wipe_buf(&text);
}

static void login_password(struct request *r, const char *response)
{
    struct buf text = decode(response);
    char *login = r->exchange->login;

    r->exchange->login = NULL;
    if (slice_find(buf_slice(&text), '\0') != SLICE_NOT_FOUND) {
        r->login = login;
        finish(r, AUTH_MALFORMED, "not a password");
    } else
        check(r, login, mem_dup(text.data, buf_len(&text)));
    wipe_buf(&text);
}

/* ---- the back end ---- */

static void *table_open(struct loop *loop, struct tables *tables, const struct conf *c, struct buf *err)
{
    struct buf complaints = {0};
    struct backend *b = NEW(struct backend);

    b->refs = 1;
    list_init(&b->waiting);
    b->loop = loop;
    b->local_domain = mem_strdup(c->smtpd_sasl_local_domain);
    snprintf(b->dummy, sizeof b->dummy, "%s", FIRST_DUMMY);
    b->maps = maps_new(tables, c->smtpd_sasl_password_maps, &complaints);
    if (b->maps != NULL && maps_empty(b->maps)) {
        buf_add_str(&complaints, "smtpd_sasl_type = table needs a table here\n");
        maps_free(&b->maps);
    }
    if (b->maps == NULL) {
        buf_printf(err, "smtpd_sasl_password_maps: %s", buf_cstr(&complaints));
        backend_unref(b);
        b = NULL;
    }
    buf_release(&complaints);
    return b;
}

static void table_close(void *backend)
{
    backend_unref(backend);
}

static size_t table_mechanisms(void *backend, const struct auth_mechanism **all)
{
    static const struct auth_mechanism mechanisms[] = {{"PLAIN", AUTH_PLAINTEXT}, {"LOGIN", AUTH_PLAINTEXT}};

    (void)backend;
    *all = mechanisms;
    return ARRAY_LEN(mechanisms);
}

static void table_respond(void *exchange, const char *response, struct op_scope *scope, op_done_fn *done, void *owner)
{
    struct exchange *x = exchange;
    struct request *r = request_new(x, scope, done, owner);

    if (x->plain)
        plain(r, response);
    else if (x->login == NULL)
        login_name(r, response);
    else
        login_password(r, response);
}

static void *table_begin(void *backend, const struct auth_client *client, const char *mechanism, const char *initial,
                         struct op_scope *scope, op_done_fn *done, void *owner)
{
    struct exchange *x = NEW(struct exchange);

    (void)client;
    x->backend = backend;
    x->backend->refs++;
    x->plain = strcmp(mechanism, "PLAIN") == 0;
    if (initial != NULL)
        table_respond(x, initial, scope, done, owner);
    else
        challenge(request_new(x, scope, done, owner), x->plain ? "" : USERNAME_PROMPT);
    return x;
}

static void table_end(void *exchange)
{
    struct exchange *x = exchange;

    if (x->request != NULL) {
        x->request->exchange = NULL;
        if (!op_detached(&x->request->op))
            op_abandon(&x->request->op);
    }
    mem_free(x->login);
    backend_unref(x->backend);
    mem_free(x);
}

const struct auth_backend auth_backend_table = {
    .name = "table",
    .open = table_open,
    .close = table_close,
    .mechanisms = table_mechanisms,
    .begin = table_begin,
    .respond = table_respond,
    .end = table_end,
};
