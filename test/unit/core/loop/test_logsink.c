/* The log's thread: lines of several threads arrive whole, once and in order; the file can be moved away; the end. */
#include "unit/cmocka_all.h"

#include "core/base/assert.h"
#include "core/loop/logsink.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define THREADS      4
#define LINES        2000
#define LINES_AT_END 100

static char dir[] = "/tmp/mta-logsink-XXXXXX";
static log_sink_fn *sink;

static const char *path_of(const char *name)
{
    static char path[100];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void start(const char *path)
{
    char err[200] = "";

    sink = logsink_start(path, 0, err, sizeof err);
    assert_non_null(sink);
}

static void say(unsigned thread, unsigned number)
{
    char line[40];
    int n = snprintf(line, sizeof line, "thread %u line %u\n", thread, number);

    sink(LOG_LEVEL_INFO, line, (size_t)n);
}

struct talker {
    unsigned number, lines;
    pthread_t thread;
};

static void *talk(void *arg)
{
    const struct talker *t = arg;

    for (unsigned i = 0; i < t->lines; i++)
        say(t->number, i);
    return NULL;
}

static void begin(struct talker *t, unsigned number, unsigned lines)
{
    t->number = number;
    t->lines = lines;
    assert_int_equal(pthread_create(&t->thread, NULL, talk, t), 0);
}

/* Each thread's lines from 0 upwards, nothing else; answers how many of `thread` there are. */
static unsigned read_back(const char *name, unsigned thread)
{
    FILE *f = fopen(path_of(name), "r");
    unsigned next[THREADS] = {0}, t, number;
    char line[100];

    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        assert_int_equal(sscanf(line, "thread %u line %u\n", &t, &number), 2);
        assert_true(t < THREADS);
        assert_int_equal(number, next[t]);
        next[t]++;
    }
    fclose(f);
    return next[thread];
}

static void lines_arrive_whole_and_in_order(void **unused)
{
    struct talker talkers[THREADS];

    (void)unused;
    start(path_of("order"));
    for (unsigned i = 0; i < THREADS; i++)
        begin(&talkers[i], i, LINES);
    for (int i = 0; i < 100; i++)
        logsink_reopen(); /* loses nothing */
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(talkers[i].thread, NULL);
    logsink_stop();
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(read_back("order", i), LINES);
}

static void a_file_that_was_moved_away_is_made_anew(void **unused)
{
    char moved[100];

    (void)unused;
    snprintf(moved, sizeof moved, "%s", path_of("moved"));
    start(path_of("log"));
    assert_int_equal(rename(path_of("log"), moved), 0);
    logsink_reopen();
    while (access(path_of("log"), F_OK) != 0)
        usleep(1000);
    say(0, 0);
    logsink_stop();
    assert_int_equal(read_back("log", 0), 1);
    assert_int_equal(read_back("moved", 0), 0);
}

/* Who logs on while the log ends does no harm: what does not get into the file goes to standard error. */
static void it_ends_while_others_log(void **unused)
{
    (void)unused;
    for (int round = 0; round < 20; round++) {
        struct talker talker;

        start(path_of("end"));
        begin(&talker, 0, LINES_AT_END);
        logsink_stop();
        pthread_join(talker.thread, NULL);
        assert_true(read_back("end", 0) <= LINES_AT_END);
        unlink(path_of("end"));
    }
}

static void a_file_that_cannot_be_opened_is_told(void **unused)
{
    char err[200] = "";

    (void)unused;
    assert_null(logsink_start("/nonexistent/log", 0, err, sizeof err));
    assert_non_null(strstr(err, "/nonexistent/log: No such file"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_arrive_whole_and_in_order),
        cmocka_unit_test(a_file_that_was_moved_away_is_made_anew),
        cmocka_unit_test(it_ends_while_others_log),
        cmocka_unit_test(a_file_that_cannot_be_opened_is_told),
    };
    char command[100];
    int failed;

    if (mkdtemp(dir) == NULL)
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command) == 0 ? failed : 1;
}
