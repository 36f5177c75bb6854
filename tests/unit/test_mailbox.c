/* test_mailbox - letters from many threads arrive all, and in the order of each sender.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "io/mailbox.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "io/loop.h"

enum { SENDERS = 4, LETTERS = 100000 };

struct office {
    struct ps_loop *loop;
    struct ps_mailbox *box;
    unsigned next[SENDERS];
    unsigned count;
    unsigned wanted;
    int out_of_order;
};

struct note {
    struct ps_letter letter;
    unsigned sender;
    unsigned number;
};

struct sender {
    struct office *office;
    unsigned id;
    unsigned letters;
};

static void on_note(struct ps_letter *letter, void *receiver)
{
    struct note *note = PS_CONTAINER_OF(letter, struct note, letter);
    struct office *office = receiver;
    office->out_of_order += note->number != office->next[note->sender];
    office->next[note->sender]++;
    free(note);
    if (++office->count == office->wanted) {
        ps_loop_stop(office->loop);
    }
}

static void post(struct office *office, unsigned sender, unsigned number)
{
    struct note *note = malloc(sizeof *note);
    PS_CHECK(note != NULL);
    *note = (struct note){.letter.on_delivery = on_note, .sender = sender, .number = number};
    ps_mailbox_post(office->box, &note->letter);
}

static void *send_all(void *arg)
{
    struct sender *sender = arg;
    for (unsigned i = 0; i < sender->letters; i++) {
        post(sender->office, sender->id, i);
    }
    return NULL;
}

static void letters_of_four_threads_arrive_in_order(void **state)
{
    (void)state;
    struct office office = {.wanted = SENDERS * LETTERS};
    struct sender senders[SENDERS];
    pthread_t threads[SENDERS];
    assert_int_equal(ps_loop_new(&office.loop, &ps_clock_real), PS_OK);
    assert_int_equal(ps_mailbox_new(&office.box, office.loop, &office), PS_OK);
    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){&office, i, LETTERS};
        assert_int_equal(pthread_create(&threads[i], NULL, send_all, &senders[i]), 0);
    }
    ps_loop_run(office.loop);
    for (unsigned i = 0; i < SENDERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(office.next[i], LETTERS);
    }
    assert_int_equal(office.out_of_order, 0);
    ps_mailbox_free(office.box);
    ps_loop_free(office.loop);
}

static void a_box_that_is_freed_delivers_what_is_inside(void **state)
{
    (void)state;
    struct office office = {.wanted = 3};
    assert_int_equal(ps_loop_new(&office.loop, &ps_clock_real), PS_OK);
    assert_int_equal(ps_mailbox_new(&office.box, office.loop, &office), PS_OK);
    post(&office, 0, 0);
    post(&office, 1, 0);
    post(&office, 0, 1);
    ps_mailbox_free(office.box);
    assert_int_equal(office.count, 3);
    assert_int_equal(office.out_of_order, 0);
    ps_loop_free(office.loop);
    ps_mailbox_free(NULL);
}

static void on_reply_wanted(struct ps_letter *letter, void *receiver)
{
    struct office *office = receiver;
    free(PS_CONTAINER_OF(letter, struct note, letter));
    post(office, 2, office->next[2]);
}

static void a_letter_may_post_a_letter_while_the_box_goes(void **state)
{
    (void)state;
    struct office office = {.wanted = 1};
    struct note *note = calloc(1, sizeof *note);
    assert_non_null(note);
    note->letter.on_delivery = on_reply_wanted;
    assert_int_equal(ps_loop_new(&office.loop, &ps_clock_real), PS_OK);
    assert_int_equal(ps_mailbox_new(&office.box, office.loop, &office), PS_OK);
    ps_mailbox_post(office.box, &note->letter);
    ps_mailbox_free(office.box);
    assert_int_equal(office.count, 1);
    ps_loop_free(office.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_of_four_threads_arrive_in_order),
        cmocka_unit_test(a_box_that_is_freed_delivers_what_is_inside),
        cmocka_unit_test(a_letter_may_post_a_letter_while_the_box_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
