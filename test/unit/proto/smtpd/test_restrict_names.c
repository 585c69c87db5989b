/* The restrictions that the configuration leaves in the lists are those that the server has, and it has no others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/base/assert.h"

#include <stdbool.h>
#include <string.h>

static const struct {
    const char *name;
    bool now;
} known[] = {
#define NOW                                true
#define LATER                              false
#define RESTRICTION(name, arguments, when) {#name, when},
#include "core/conf/restrictions.def"
#undef RESTRICTION
};

static const char *const checks[] = {
#define RESTRICT_CHECK(name, lists, fn, guards, meaning) name,
#include "proto/smtpd/restrict_checks.def"
#undef RESTRICT_CHECK
};

static void one_row_in_each_table(void **state)
{
    size_t now = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        bool found = false;

        for (size_t k = 0; k < ARRAY_LEN(checks); k++)
            found = found || strcmp(known[i].name, checks[k]) == 0;
        if (found != known[i].now)
            fail_msg("%s", known[i].name);
        now += known[i].now;
    }
    assert_int_equal(now, ARRAY_LEN(checks));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_row_in_each_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
