/* Accounts of this host as tables: lookup/table_unix. */
#include "core/base/assert.h"
#include "support/fake_table.h"

struct fixture {
    struct look look;
    struct buf answer;
};

static int setup(void **state)
{
    struct fixture *f = NEW(struct fixture);

    look_open(&f->look);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    look_close(&f->look);
    buf_release(&f->answer);
    mem_free(f);
    return 0;
}

static void on_answer(void *owner, enum op_status status, const void *result)
{
    struct fixture *f = owner;
    const struct table_answer *answer = result;

    f->look.calls++;
    f->look.status = status;
    buf_clear(&f->answer);
    if (status == OP_OK)
        buf_add_str(&f->answer, answer->value);
}

static void accounts_and_groups(void **state)
{
    static const struct {
        const char *table, *key;
        enum op_status status;
        const char *begins;
    } cases[] = {
        {"unix:passwd.byname", "root", OP_OK, "root:x:0:0:"},
        {"proxy:unix:passwd.byname", "ROOT", OP_OK, "root:x:0:0:"},
        {"unix:passwd.byname", "nosuchaccount", OP_NOTFOUND, ""},
        {"unix:passwd.byname", "root@example.com", OP_NOTFOUND, ""},
        {"unix:passwd.byname", "", OP_NOTFOUND, ""},
        {"unix:group.byname", "root", OP_OK, "root:x:0:"},
        {"unix:group.byname", "nosuchgroup", OP_NOTFOUND, ""},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct table *t = tables_open(f->look.tables, cases[i].table, &f->look.err);

        assert_non_null(t);
        assert_true(table_is_fixed(t));
        table_lookup(t, &f->look.scope, slice_str(cases[i].key), on_answer, f);
        loop_run(f->look.loop);
        assert_int_equal(f->look.calls, i + 1);
        assert_int_equal(f->look.status, cases[i].status);
        assert_true(slice_starts(buf_slice(&f->answer), slice_str(cases[i].begins)));
    }
}

static void there_are_two_maps(void **state)
{
    struct fixture *f = *state;

    assert_null(tables_open(f->look.tables, "unix:passwd.byuid", &f->look.err));
    assert_non_null(strstr(buf_cstr(&f->look.err), "unix:passwd.byuid"));
}

static void many_at_once(void **state)
{
    struct fixture *f = *state;
    struct table *t = tables_open(f->look.tables, "unix:passwd.byname", &f->look.err);

    for (int i = 0; i < 200; i++)
        table_lookup(t, &f->look.scope, slice_str("root"), on_answer, f);
    loop_run(f->look.loop);
    assert_int_equal(f->look.calls, 200);
}

static void the_asker_may_go(void **state)
{
    struct fixture *f = *state;
    struct table *t = tables_open(f->look.tables, "unix:passwd.byname", &f->look.err);

    table_lookup(t, &f->look.scope, slice_str("root"), on_answer, f);
    op_scope_close(&f->look.scope);
    loop_run(f->look.loop);
    assert_int_equal(f->look.calls, 0);
}

static void the_tables_may_go(void **state)
{
    struct fixture *f = *state;
    struct table *t = tables_open(f->look.tables, "unix:passwd.byname", &f->look.err);

    table_lookup(t, &f->look.scope, slice_str("root"), on_answer, f);
    tables_free(&f->look.tables);
    loop_run(f->look.loop);
    assert_int_equal(f->look.calls, 1);
    assert_int_equal(f->look.status, OP_TEMPFAIL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(accounts_and_groups, setup, teardown),
        cmocka_unit_test_setup_teardown(there_are_two_maps, setup, teardown),
        cmocka_unit_test_setup_teardown(many_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(the_asker_may_go, setup, teardown),
        cmocka_unit_test_setup_teardown(the_tables_may_go, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
