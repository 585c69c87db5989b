/* The growable buffer: cap, consuming, memory given back. The arena: alignment, zeroing, large pieces. */
#include "unit/cmocka_all.h"

#include "core/base/arena.h"
#include "core/base/buf.h"

#include <stdlib.h>

static void additions_are_all_or_nothing_at_the_cap(void **unused)
{
    struct buf b = {.max = 10};

    (void)unused;
    assert_true(buf_add_str(&b, "12345678"));
    assert_false(buf_add_str(&b, "abc"));
    assert_int_equal(buf_len(&b), 8);
    assert_true(buf_add_str(&b, "ab"));
    assert_false(buf_add_char(&b, 'x'));
    assert_false(buf_printf(&b, "%d", 1));
    assert_int_equal(buf_room(&b), 0);
    buf_consume(&b, 4);
    assert_true(buf_printf(&b, "%d", 1234));
    assert_string_equal(buf_cstr(&b), "5678ab1234");
    buf_release(&b);
}

static void what_goes_in_comes_out(void **unused)
{
    struct buf b = {0};
    uint8_t next_in = 0, next_out = 0;

    (void)unused;
    srand(7);
    for (int i = 0; i < 20000; i++) {
        if (rand() % 2) {
            for (int n = rand() % 300; n > 0; n--)
                assert_true(buf_add_char(&b, (char)next_in++));
        } else {
            size_t n = buf_len(&b) ? (size_t)rand() % (buf_len(&b) + 1) : 0;

            for (size_t k = 0; k < n; k++)
                assert_int_equal((uint8_t)buf_slice(&b).p[k], next_out++);
            buf_consume(&b, n);
        }
    }
    buf_release(&b);
    assert_int_equal(buf_slice(&b).n, 0);
    assert_string_equal(buf_cstr(&b), "");
    buf_release(&b);
}

static void clearing_gives_large_memory_back(void **unused)
{
    struct buf b = {0};

    (void)unused;
    assert_non_null(buf_reserve(&b, 1 << 20));
    buf_clear(&b);
    assert_null(b.data);
}

static void arena_memory_is_zeroed_aligned_and_apart(void **unused)
{
    struct arena a = {0};
    char *last = NULL;

    (void)unused;
    for (size_t i = 1; i < 3000; i += 7) {
        char *p = arena_new(&a, i);

        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t k = 0; k < i; k++)
            assert_int_equal(p[k], 0);
        memset(p, 0xff, i);
        assert_ptr_not_equal(p, last);
        last = p;
    }
    assert_string_equal(arena_printf(&a, "%s-%d", "x", 5), "x-5");
    assert_string_equal(arena_slice_dup(&a, slice_make("abcd", 2)), "ab");
    assert_null(arena_strdup(&a, NULL));
    memset(arena_new(&a, 1 << 20), 1, 1 << 20);
    arena_clear(&a);
    assert_int_equal(a.used, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(additions_are_all_or_nothing_at_the_cap),
        cmocka_unit_test(what_goes_in_comes_out),
        cmocka_unit_test(clearing_gives_large_memory_back),
        cmocka_unit_test(arena_memory_is_zeroed_aligned_and_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
