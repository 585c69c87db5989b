/* The hash map and the list, against what a plain array says. */
#include "unit/cmocka_all.h"

#include "core/base/list.h"
#include "core/base/map.h"

#include <stdio.h>
#include <stdlib.h>

#define KEYS 500

static struct slice key_of(int i, char text[16])
{
    return slice_make(text, (size_t)snprintf(text, 16, "key-%d", i));
}

static void it_agrees_with_an_array_under_random_changes(void **unused)
{
    struct map m = {0};
    static int values[KEYS];
    void *model[KEYS] = {0};
    char text[16];
    size_t at = 0, seen = 0, count = 0;
    struct slice k;
    void *v;

    (void)unused;
    srand(3);
    for (int step = 0; step < 50000; step++) {
        int i = rand() % KEYS;

        if (rand() % 3) {
            void *to = &values[rand() % KEYS];

            assert_ptr_equal(map_put(&m, key_of(i, text), to), model[i]);
            model[i] = to;
        } else {
            assert_ptr_equal(map_remove(&m, key_of(i, text)), model[i]);
            model[i] = NULL;
        }
        i = rand() % KEYS;
        assert_ptr_equal(map_get(&m, key_of(i, text)), model[i]);
    }
    for (int i = 0; i < KEYS; i++)
        count += model[i] != NULL;
    assert_int_equal(m.count, count);
    while (map_next(&m, &at, &k, &v))
        seen++;
    assert_int_equal(seen, count);
    map_clear(&m);
    assert_null(map_get(&m, SLICE_LIT("key-1")));
    assert_null(map_remove(&m, SLICE_LIT("key-1")));
}

static void keys_may_have_any_bytes(void **unused)
{
    struct map m = {0};
    int a, b, c;

    (void)unused;
    map_put(&m, slice_make("a\0b", 3), &a);
    map_put(&m, slice_make("a\0c", 3), &b);
    map_put(&m, SLICE_EMPTY, &c);
    assert_ptr_equal(map_get(&m, slice_make("a\0b", 3)), &a);
    assert_ptr_equal(map_get(&m, slice_make("a\0c", 3)), &b);
    assert_ptr_equal(map_get(&m, SLICE_EMPTY), &c);
    assert_null(map_get(&m, SLICE_LIT("a")));
    map_clear(&m);
}

struct item {
    struct list link;
    int n;
};

static void list_members_may_leave_while_it_is_walked(void **unused)
{
    struct list head, other;
    struct item items[6] = {0};
    int sum = 0;

    (void)unused;
    list_init(&head);
    list_init(&other);
    for (int i = 0; i < 5; i++) {
        items[i].n = i;
        list_append(&head, &items[i].link);
    }
    items[5].n = 100;
    list_prepend(&head, &items[5].link);
    assert_int_equal(LIST_ITEM(head.next, struct item, link)->n, 100);
    LIST_FOREACH(it, &head)
    {
        sum += LIST_ITEM(it, struct item, link)->n;
        if (LIST_ITEM(it, struct item, link)->n % 2)
            list_remove(it);
    }
    assert_int_equal(sum, 110);
    assert_false(list_linked(&items[1].link));
    list_remove(&items[1].link); /* idempotent */
    list_splice(&other, &head);
    assert_true(list_empty(&head));
    assert_ptr_equal(list_shift(&other), &items[5].link);
    assert_ptr_equal(list_shift(&other), &items[0].link);
    assert_ptr_equal(list_shift(&other), &items[2].link);
    assert_ptr_equal(list_shift(&other), &items[4].link);
    assert_null(list_shift(&other));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_agrees_with_an_array_under_random_changes),
        cmocka_unit_test(keys_may_have_any_bytes),
        cmocka_unit_test(list_members_may_leave_while_it_is_walked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
