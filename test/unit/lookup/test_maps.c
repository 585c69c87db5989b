/* Lists of tables and the searches over them: lookup/maps. */
#include "core/base/assert.h"
#include "support/fake_table.h"

struct fixture {
    struct look look;
    struct buf log, answer;
    bool plain; /* answers are table_answers */
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
    buf_release(&f->log);
    buf_release(&f->answer);
    mem_free(f);
    return 0;
}

static void on_answer(void *owner, enum op_status status, const void *result)
{
    struct fixture *f = owner;
    const struct maps_address_answer *a = result;
    const struct table_answer *t = result;

    f->look.calls++;
    f->look.status = status;
    buf_clear(&f->answer);
    if (f->plain)
        buf_add_str(&f->answer, status == OP_OK ? t->value : status == OP_TEMPFAIL ? t->why : "");
    else if (status == OP_OK)
        buf_printf(&f->answer, "%s=%s(%s)", a->key, a->value, a->extension);
    else if (status == OP_TEMPFAIL)
        buf_add_str(&f->answer, a->why);
}

static struct fake_table *add(struct fixture *f, const char *name, const char *const *pairs)
{
    struct fake_table *t = fake_add(f->look.tables, name, pairs);

    t->log = &f->log;
    return t;
}

static struct maps *open_maps(struct fixture *f, const char *list)
{
    struct maps *maps = maps_new(f->look.tables, list, &f->look.err);

    assert_non_null(maps);
    return maps;
}

/* What was asked and answered in a search for an address. */
static void search(struct fixture *f, const struct maps *maps, const char *address, const char *delimiters,
                   bool bare_user)
{
    struct maps_address_opts opts = {delimiters, bare_user};

    buf_clear(&f->log);
    f->look.calls = 0;
    maps_find_address(maps, &f->look.scope, address, &opts, on_answer, f);
    assert_int_equal(f->look.calls, 0); /* never inside the call */
    loop_run(f->look.loop);
    assert_int_equal(f->look.calls, 1);
}

static void list_items(void **state)
{
    static const struct {
        const char *list, *want;
    } cases[] = {
        {"", ""},
        {" , \t\n", ""},
        {"hash:/a", "hash:/a"},
        {"hash:/a, mysql:/b\n\tstatic:x", "hash:/a|mysql:/b|static:x"},
        {"inline:{ {a=b, c} d=e }, hash:/a", "inline:{ {a=b, c} d=e }|hash:/a"},
        {"unionmap:{static:a, static:b}", "unionmap:{static:a, static:b}"},
        {"a{b", "a{b"},
        {"a}b c", "a}b|c"},
        {"{a b", "{a b"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice rest = slice_str(cases[i].list), item;
        struct buf got = {0};

        while ((item = maps_list_item(&rest)).n > 0)
            buf_printf(&got, "%s%.*s", buf_len(&got) ? "|" : "", (int)item.n, item.p);
        assert_string_equal(buf_cstr(&got), cases[i].want);
        buf_release(&got);
    }
}

static void an_unknown_table_is_an_error(void **state)
{
    struct fixture *f = *state;

    assert_null(maps_new(f->look.tables, "static:a, nosuchtype:b static:c, bare", &f->look.err));
    assert_non_null(strstr(buf_cstr(&f->look.err), "nosuchtype:b"));
    assert_non_null(strstr(buf_cstr(&f->look.err), "bare"));
    assert_int_equal(slice_find(buf_slice(&f->look.err), '\n') + 1 < buf_len(&f->look.err), true); /* two lines */
}

static void an_empty_list_finds_nothing(void **state)
{
    struct fixture *f = *state;
    struct maps *maps = open_maps(f, " , ");

    assert_true(maps_empty(maps));
    search(f, maps, "a@x", "+", true);
    assert_int_equal(f->look.status, OP_NOTFOUND);
    maps_free(&maps);
    assert_null(maps);
}

static void plain_search_takes_the_first_answer(void **state)
{
    static const char *const first[] = {"a", "1", NULL}, *const second[] = {"a", "2", "b", "3", NULL};
    static const struct {
        const char *key;
        enum op_status status;
        const char *answer;
    } cases[] = {{"a", OP_OK, "1"},
                 {"b", OP_OK, "3"},
                 {"c", OP_NOTFOUND, ""},
                 {"B", OP_OK, "3"},
                 {"bad", OP_TEMPFAIL, "fake failure"}};
    struct fixture *f = *state;
    struct maps *maps;

    add(f, "fake:a", first)->fail = "bad";
    add(f, "fake:b", second);
    maps = open_maps(f, "fake:a, proxy:fake:b");
    f->plain = true;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        maps_find(maps, &f->look.scope, slice_str(cases[i].key), on_answer, f);
        loop_run(f->look.loop);
        assert_int_equal(f->look.status, cases[i].status);
        assert_string_equal(buf_cstr(&f->answer), cases[i].answer);
    }
    assert_int_equal(f->look.calls, ARRAY_LEN(cases));
    maps_free(&maps);
}

static void asks_keys_in_the_order_of_virtual5(void **state)
{
    static const struct {
        const char *address, *delimiters;
        bool bare_user;
        const char *asked;
    } cases[] = {
        {"user@dom", "+", false, "user@dom @dom "},
        {"User@DOM", "+", false, "user@dom @dom "},
        {"user+ext@dom", "+", false, "user+ext@dom user@dom @dom "},
        {"user+ext@dom", "+", true, "user+ext@dom user@dom user+ext user @dom "},
        {"user@dom", "+", true, "user@dom user @dom "},
        {"user+ext@dom", "", true, "user+ext@dom user+ext @dom "},
        {"+ext@dom", "+", true, "+ext@dom +ext @dom "},
        {"postmaster@dom", "t", false, "postmaster@dom @dom "},
        {"owner-a@dom", "-", false, "owner-a@dom @dom "},
        {"user", "+", true, "user "},
        {"user+ext", "+", false, "user+ext user "},
        {"@dom", "+", true, "@dom "},
        {"a@b@dom", "+", false, "\"a@b\"@dom a@b@dom @dom "},
        {"john doe+x@dom", "+", true,
         "\"john doe+x\"@dom john doe+x@dom \"john doe\"@dom john doe@dom \"john doe+x\" john doe+x \"john doe\" john "
         "doe "
         "@dom "},
        {"a b+@dom", "+", false, "\"a b+\"@dom a b+@dom \"a b\"@dom a b@dom @dom "},
    };
    struct fixture *f = *state;
    struct maps *maps;

    add(f, "fake:a", NULL);
    maps = open_maps(f, "fake:a");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        search(f, maps, cases[i].address, cases[i].delimiters, cases[i].bare_user);
        assert_int_equal(f->look.status, OP_NOTFOUND);
        assert_string_equal(buf_cstr(&f->log), cases[i].asked);
    }
    maps_free(&maps);
}

static void each_key_is_asked_in_all_tables_first(void **state)
{
    static const char *const first[] = {"user@dom", "less", "@dom", "least", NULL};
    static const char *const second[] = {"user+ext@dom", "most", NULL};
    struct fixture *f = *state;
    struct maps *maps;

    add(f, "fake:a", first);
    add(f, "fake:b", second);
    maps = open_maps(f, "fake:a fake:b");
    search(f, maps, "user+ext@dom", "+", false);
    assert_string_equal(buf_cstr(&f->answer), "user+ext@dom=most()");
    search(f, maps, "user+other@dom", "+", false);
    assert_string_equal(buf_cstr(&f->answer), "user@dom=less(+other)");
    search(f, maps, "else+ext@dom", "+", false);
    assert_string_equal(buf_cstr(&f->answer), "@dom=least()");
    maps_free(&maps);
}

static void a_bare_user_without_extension_reports_it(void **state)
{
    static const char *const pairs[] = {"user", "found", NULL};
    struct fixture *f = *state;
    struct maps *maps;

    add(f, "fake:a", pairs);
    maps = open_maps(f, "fake:a");
    search(f, maps, "user+ext@dom", "+", true);
    assert_string_equal(buf_cstr(&f->answer), "user=found(+ext)");
    search(f, maps, "user@dom", "+", false);
    assert_int_equal(f->look.status, OP_NOTFOUND);
    maps_free(&maps);
}

static void tables_of_patterns_see_the_whole_address_only(void **state)
{
    struct fixture *f = *state;
    struct buf patterns = {0};
    struct fake_table *t = add(f, "fake:p", NULL);
    struct maps *maps;

    t->table.fixed = false;
    t->log = &patterns;
    add(f, "fake:a", NULL);
    maps = open_maps(f, "fake:p fake:a");
    search(f, maps, "User+Ext@dom", "+", true);
    assert_string_equal(buf_cstr(&patterns), "User+Ext@dom ");
    assert_string_equal(buf_cstr(&f->log), "user+ext@dom user@dom user+ext user @dom ");
    buf_release(&patterns);
    maps_free(&maps);
}

static void a_failure_ends_the_search(void **state)
{
    static const char *const pairs[] = {"@dom", "all", NULL};
    struct fixture *f = *state;
    struct fake_table *t = add(f, "fake:a", pairs);
    struct maps *maps = open_maps(f, "fake:a");

    for (size_t i = 0; i < 2; i++) {
        t->fail = i ? "user@dom" : "user+ext@dom";
        search(f, maps, "user+ext@dom", "+", false);
        assert_int_equal(f->look.status, OP_TEMPFAIL);
        assert_string_equal(buf_cstr(&f->answer), "fake failure");
    }
    maps_free(&maps);
}

static void keys_of_the_callers_order(void **state)
{
    static const char *const pairs[] = {"c", "3", "b", "2", NULL};
    static const struct maps_key keys[] = {
        {.text = "a"}, {.text = "b", .extension = "-x", .partial = true}, {.text = "c"}};
    struct fixture *f = *state;
    struct fake_table *t = add(f, "fake:a", pairs);
    struct maps *maps = open_maps(f, "fake:a");

    maps_find_keys(maps, &f->look.scope, keys, ARRAY_LEN(keys), on_answer, f);
    loop_run(f->look.loop);
    assert_string_equal(buf_cstr(&f->answer), "b=2(-x)");
    t->table.fixed = false;
    maps_find_keys(maps, &f->look.scope, keys, ARRAY_LEN(keys), on_answer, f);
    loop_run(f->look.loop);
    assert_string_equal(buf_cstr(&f->answer), "c=3()");
    maps_free(&maps);
}

/* The asker goes, then the list, and only then the table answers. */
static void a_search_outlives_asker_and_list(void **state)
{
    static const char *const pairs[] = {"@dom", "all", NULL};
    struct fixture *f = *state;
    struct fake_table *t = add(f, "fake:a", pairs);
    struct maps *maps = open_maps(f, "fake:a");
    struct maps_address_opts opts = {"+", true};

    t->hang = true;
    maps_find_address(maps, &f->look.scope, "user+ext@dom", &opts, on_answer, f);
    loop_run(f->look.loop);
    op_scope_close(&f->look.scope);
    maps_free(&maps);
    fake_release(t);
    loop_run(f->look.loop);
    assert_int_equal(f->look.calls, 0);
    assert_string_equal(buf_cstr(&f->log), "user+ext@dom ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list_items),
        cmocka_unit_test_setup_teardown(an_unknown_table_is_an_error, setup, teardown),
        cmocka_unit_test_setup_teardown(an_empty_list_finds_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(plain_search_takes_the_first_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(asks_keys_in_the_order_of_virtual5, setup, teardown),
        cmocka_unit_test_setup_teardown(each_key_is_asked_in_all_tables_first, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bare_user_without_extension_reports_it, setup, teardown),
        cmocka_unit_test_setup_teardown(tables_of_patterns_see_the_whole_address_only, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failure_ends_the_search, setup, teardown),
        cmocka_unit_test_setup_teardown(keys_of_the_callers_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_search_outlives_asker_and_list, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
