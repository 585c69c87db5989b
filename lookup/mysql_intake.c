/*
 * Counts what the client library reads: see mysql_intake.h. Called by mysql_conn.c around each call of the library that
 * may read, on the loop or on the pool thread that connects.
 */
#include "lookup/mysql_intake.h"

#include <mysql.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>

/* The library has this for its trace plug-ins: it is exported, but in no header. There is no other way to be told. */
int ma_pvio_register_callback(my_bool on, void (*fn)(int mode, MYSQL *mysql, const unsigned char *bytes, size_t n));

static _Thread_local struct mysql_intake *counting;

static int64_t now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

struct mysql_intake mysql_intake_begin(size_t most, uint64_t seconds)
{
    return (struct mysql_intake){.most = most, .until_s = seconds > 0 ? now_s() + (int64_t)seconds : 0};
}

/* `mode` is 0 when it has read; `n` is -1 when that failed. */
static void on_traffic(int mode, MYSQL *mysql, const unsigned char *bytes, size_t n)
{
    (void)bytes;
    if (mode != 0 || counting == NULL || n == (size_t)-1)
        return;
    counting->bytes += n;
    if (counting->bytes > counting->most || (counting->until_s > 0 && now_s() > counting->until_s))
        shutdown(mysql_get_socket(mysql), SHUT_RDWR);
}

static void watch(void)
{
    ma_pvio_register_callback(1, on_traffic);
}

void mysql_intake_count(struct mysql_intake *to)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, watch);
    counting = to;
}
