/*
 * libsasl2 for the whole process: see sasl_lib.h. It knows one application name, one path and one list of plug-ins,
 * and is told about mutexes before anything else. It is never shut down: sasl_done unloads the plug-ins, whose
 * libraries (libmariadb, say) then lose what they hold, and a thread may still be in it, waiting for a saslauthd that
 * hangs. What it holds at exit is reachable and small.
 */
#include "proto/auth/sasl_lib.h"

#include "core/base/alloc.h"
#include "core/base/assert.h"
#include "core/base/codec.h"
#include "core/base/log.h"

#include <errno.h>
#include <pthread.h>
#include <sasl/sasl.h>
#include <string.h>
#include <unistd.h>

#define SAID_MAX 2000

/* libsasl2 declares callbacks as functions without parameters, and calls them as what their id says. */
#define AS_CALLBACK(fn) ((int (*)(void))(void (*)(void))(fn))

static struct {
    pthread_rwlock_t lock; /* held for reading by what clients do, for writing while plug-ins are loaded */
    bool mutexes, client;  /* under lock */
    /* loop thread */
    bool server;
    char *application, *config_path;
    char *file;       /* APPLICATION.conf, as found */
    char *unreadable; /* one that is there and cannot be read */
} lib = {.lock = PTHREAD_RWLOCK_INITIALIZER};

static _Thread_local struct buf *said; /* where this thread's words go */

/* ---- what libsasl2 asks for ---- */

static void *mutex_new(void)
{
    pthread_mutex_t *m = NEW(pthread_mutex_t);

    pthread_mutex_init(m, NULL);
    return m;
}

static int mutex_lock(void *m)
{
    return pthread_mutex_lock(m) == 0 ? SASL_OK : SASL_FAIL;
}

static int mutex_unlock(void *m)
{
    return pthread_mutex_unlock(m) == 0 ? SASL_OK : SASL_FAIL;
}

static void mutex_free(void *m)
{
    pthread_mutex_destroy(m);
    mem_free(m);
}

/* The levels above these are for debugging; one of them has the passwords. */
static int on_log(void *context, int level, const char *message)
{
    const char *what = level == SASL_LOG_FAIL ? "failure" : "problem";

    (void)context;
    if (said == NULL || message == NULL || buf_len(said) > SAID_MAX)
        return SASL_OK;
    if (level == SASL_LOG_ERR || level == SASL_LOG_FAIL || level == SASL_LOG_WARN)
        buf_printf(said, "SASL authentication %s: %.*s\n", what, (int)strcspn(message, "\n"), message);
    return SASL_OK;
}

void sasl_lib_listen(struct buf *to)
{
    said = to;
}

void sasl_lib_say(struct buf *text, const char *agent)
{
    struct log_ctx ctx = {.agent = agent};
    struct slice rest = buf_slice(text), line;

    while ((line = slice_token(&rest, "\n")).n > 0)
        log_event(LOG_AUTH_WARNING, &ctx, "%.*s", (int)line.n, line.p);
    buf_release(text);
}

/* Asked before each file that is tried: where its configuration is found is seen here. */
static int on_file(void *context, const char *path, sasl_verify_type_t type)
{
    (void)context;
    if (type != SASL_VRFY_CONF || lib.file != NULL)
        return SASL_OK;
    if (access(path, R_OK) == 0)
        lib.file = mem_strdup(path);
    else if (errno != ENOENT && errno != ENOTDIR && lib.unreadable == NULL)
        lib.unreadable = mem_strdup(path);
    return SASL_OK;
}

static const sasl_callback_t callbacks[] = {
    {SASL_CB_LOG, AS_CALLBACK(on_log), NULL},
    {SASL_CB_VERIFYFILE, AS_CALLBACK(on_file), NULL},
    {SASL_CB_LIST_END, NULL, NULL},
};

/* ---- loading ---- */

static void set_mutexes(void)
{
    if (!lib.mutexes)
        sasl_set_mutex(mutex_new, mutex_lock, mutex_unlock, mutex_free);
    lib.mutexes = true;
}

static bool load_client(void)
{
    set_mutexes();
    if (!lib.client)
        lib.client = sasl_client_init(callbacks) == SASL_OK;
    return lib.client;
}

static void choose_path(const char *application, const char *config_path, const char *own_dir)
{
    char *own = mem_printf("%s/sasl", own_dir), *file = mem_printf("%s/%s.conf", own, application);

    if (config_path[0] != '\0')
        sasl_set_path(SASL_PATH_TYPE_CONFIG, lib.config_path);
    else if (access(file, F_OK) == 0)
        sasl_set_path(SASL_PATH_TYPE_CONFIG, own);
    mem_free(own);
    mem_free(file);
}

/*
 * The client's side is loaded with the server's: while server exchanges run, which may hang, nothing is loaded any
 * more, so that nobody waits for the lock for long.
 */
static bool load_server(const char *application, const char *config_path, const char *own_dir, struct buf *err)
{
    int code;

    lib.application = mem_strdup(application);
    lib.config_path = mem_strdup(config_path);
    set_mutexes();
    choose_path(application, config_path, own_dir);
    code = sasl_server_init(callbacks, lib.application);
    if (code != SASL_OK) {
        buf_printf(err, "smtpd_sasl_path: libsasl2 cannot use %s: %s\n",
                   lib.unreadable != NULL ? lib.unreadable
                   : lib.file != NULL     ? lib.file
                                          : application,
                   lib.unreadable != NULL ? "it cannot be read" : sasl_errstring(code, NULL, NULL));
        return false;
    }
    load_client();
    if (lib.file == NULL)
        buf_printf(err,
                   "warning: smtpd_sasl_path: there is no %s.conf where libsasl2 looks: without it passwords are those "
                   "of /etc/sasldb2\n",
                   application);
    return true;
}

static void forget_server(void)
{
    mem_free(lib.application);
    mem_free(lib.config_path);
    mem_free(lib.file);
    mem_free(lib.unreadable);
    lib.application = lib.config_path = lib.file = lib.unreadable = NULL;
}

bool sasl_lib_server(const char *application, const char *config_path, const char *own_dir, struct buf *err)
{
    struct buf words = {0};

    if (lib.server && strcmp(application, lib.application) != 0) {
        buf_printf(err,
                   "smtpd_sasl_path: libsasl2 has one application in a process, which is \"%s\" until the next start; "
                   "\"%s\" cannot be had beside it\n",
                   lib.application, application);
        return false;
    }
    if (lib.server) /* cyrus_sasl_config_path: a change waits for the next start, which the reload says */
        return true;
    pthread_rwlock_wrlock(&lib.lock);
    sasl_lib_listen(&words);
    lib.server = load_server(application, config_path, own_dir, err);
    sasl_lib_listen(NULL);
    pthread_rwlock_unlock(&lib.lock);
    sasl_lib_say(&words, NULL);
    if (!lib.server)
        forget_server();
    return lib.server;
}

bool sasl_lib_client_enter(void)
{
    bool ok;

    pthread_rwlock_rdlock(&lib.lock);
    if (lib.client)
        return true;
    pthread_rwlock_unlock(&lib.lock);
    pthread_rwlock_wrlock(&lib.lock);
    ok = load_client();
    pthread_rwlock_unlock(&lib.lock);
    if (ok)
        pthread_rwlock_rdlock(&lib.lock);
    return ok;
}

void sasl_lib_client_leave(void)
{
    pthread_rwlock_unlock(&lib.lock);
}

/* ---- secrets ---- */

void sasl_lib_wipe(char **text)
{
    if (*text != NULL)
        explicit_bzero(*text, strlen(*text));
    mem_free(*text);
    *text = NULL;
}

void sasl_lib_wipe_buf(struct buf *b)
{
    if (b->data != NULL)
        explicit_bzero(b->data, b->cap);
    buf_release(b);
}

bool sasl_lib_decode(struct buf *out, const char *base64)
{
    bool ok;

    buf_reserve(out, strlen(base64) + 1); /* in one place: growing would leave copies behind */
    ok = codec_base64_decode(out, slice_str(base64));
    buf_cstr(out);
    return ok;
}

void sasl_lib_encode(struct buf *out, const void *p, size_t n)
{
    buf_reserve(out, n / 3 * 4 + 5);
    codec_base64_encode(out, slice_make(p, n));
    buf_cstr(out);
}
