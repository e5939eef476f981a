/* SPDX-License-Identifier: Apache-2.0 */
#include "fs_test.h"

#include <stdint.h>
#include <string.h>

#include "base/fs_known.h"

#define PLACES 64
#define TEXT   20

typedef struct fact_t {
    uint32_t number;
    char name[7];
} fact_t;

static const fs_known_shape_t shape = {PLACES, TEXT, sizeof(fact_t)};
static fs_known_memory_t memory[FS_KNOWN_MEMORY(PLACES, TEXT, sizeof(fact_t)) + 1];

static void add(uint64_t epoch, const char *text, uint32_t number)
{
    fact_t fact = {.number = number, .name = "fact"};

    fs_known_add(&shape, memory, epoch, text, strlen(text), &fact);
}

/* The number that was learned of the text; 0: it isn't known. */
static uint32_t find(uint64_t epoch, const char *text)
{
    fact_t fact = {0};

    if (!fs_known_find(&shape, memory, epoch, text, strlen(text), &fact))
        return 0;
    ck_assert_str_eq(fact.name, "fact");
    return fact.number;
}

START_TEST(known_is_what_was_added)
{
    ck_assert_uint_eq(find(1, "text-1"), 0);
    add(1, "text-1", 11);
    add(1, "text-2", 12);
    ck_assert_uint_eq(find(1, "text-1"), 11);
    ck_assert_uint_eq(find(1, "text-2"), 12);
}
END_TEST

START_TEST(known_is_the_whole_text_only)
{
    add(1, "text-1", 11);
    ck_assert_uint_eq(find(1, "text-"), 0);
    ck_assert_uint_eq(find(1, "text-10"), 0);
    ck_assert_uint_eq(find(1, "text-0"), 0);
    ck_assert_uint_eq(find(1, "Text-1"), 0);
    ck_assert_uint_eq(find(1, ""), 0);
}
END_TEST

/* Each single bit of the text decides, whichever place it would be in. */
START_TEST(known_is_no_altered_text)
{
    const fs_known_shape_t one = {2, TEXT, sizeof(fact_t)};
    char text[TEXT + 1] = "abcdefghijklmnopqrst";
    fact_t fact = {0};

    fs_known_add(&one, memory, 1, text, TEXT, &fact);
    for (unsigned bit = 0; bit < TEXT * 8; bit++) {
        text[bit / 8] ^= (char)(1 << bit % 8);
        ck_assert_int_eq(fs_known_find(&one, memory, 1, text, TEXT, &fact), 0);
        text[bit / 8] ^= (char)(1 << bit % 8);
    }
    ck_assert_int_eq(fs_known_find(&one, memory, 1, text, TEXT, &fact), 1);
}
END_TEST

START_TEST(known_ends_with_its_epoch)
{
    uint64_t before = fs_known_epoch(), after = fs_known_epoch();

    ck_assert(before && after && before != after);
    add(before, "text-1", 11);
    ck_assert_uint_eq(find(after, "text-1"), 0);
    add(after, "text-1", 21);
    ck_assert_uint_eq(find(after, "text-1"), 21);
}
END_TEST

START_TEST(known_texts_are_as_long_as_the_shape_says)
{
    char longest[TEXT + 2] = "123456789012345678901";

    add(1, longest, 1);
    ck_assert_uint_eq(find(1, longest), 0);
    for (size_t i = 0; i < sizeof(memory) / sizeof(memory[0]); i++)
        ck_assert_uint_eq(memory[i], 0);
    longest[TEXT] = '\0';
    add(1, longest, 2);
    ck_assert_uint_eq(find(1, longest), 2);
    ck_assert_uint_eq(memory[sizeof(memory) / sizeof(memory[0]) - 1], 0);
}
END_TEST

/* However many come, the last two of a place stay, what is found is right, nothing is overrun. */
START_TEST(known_is_bounded_and_never_wrong)
{
    char text[16];
    unsigned kept = 0;

    for (uint32_t i = 1; i <= 100 * PLACES; i++) {
        snprintf(text, sizeof(text), "%u", i);
        add(1, text, i);
        ck_assert_uint_eq(find(1, text), i);
    }
    for (uint32_t i = 1; i <= 100 * PLACES; i++) {
        uint32_t found;

        snprintf(text, sizeof(text), "%u", i);
        found = find(1, text);
        ck_assert(!found || found == i);
        kept += found != 0;
    }
    ck_assert_uint_eq(kept, PLACES);
    ck_assert_uint_eq(memory[sizeof(memory) / sizeof(memory[0]) - 1], 0);
}
END_TEST

static Suite *known_suite(void)
{
    Suite *suite = suite_create("known");
    TCase *tcase = tcase_create("known");

    tcase_add_test(tcase, known_is_what_was_added);
    tcase_add_test(tcase, known_is_the_whole_text_only);
    tcase_add_test(tcase, known_is_no_altered_text);
    tcase_add_test(tcase, known_ends_with_its_epoch);
    tcase_add_test(tcase, known_texts_are_as_long_as_the_shape_says);
    tcase_add_test(tcase, known_is_bounded_and_never_wrong);
    suite_add_tcase(suite, tcase);
    return suite;
}

FS_TEST_MAIN(known_suite)
