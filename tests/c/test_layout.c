/* SPDX-License-Identifier: BSD-3-Clause */
/* test_layout.c -- calls that take blocks away wait for pins */
#define _GNU_SOURCE
#include "layout.h"

#include <sched.h>
#include <signal.h>

#include "fixture.h"
#include "invariants.h"
#include "step.h"

enum { MIB = 1 << 20, PAGES = 8 };

static struct dax_device *dev;
static struct dax_mapping *file, *other;

static void set_up(void)
{
	dev = new_device(MIB);
	file = new_file(dev, PAGES * PAGE);
	other = new_file(dev, PAGES * PAGE);
	EQ(fill(file, 0, PAGES * PAGE, 'f'), PAGES * PAGE);
	EQ(fill(other, 0, PAGES * PAGE, 'o'), PAGES * PAGE);
	dax_test = (struct dax_test_hooks){ .yield = step_yield, .no_spin = true };
}

static void tear_down(void)
{
	dax_test = (struct dax_test_hooks){ 0 };
	check_invariants(file);
	check_invariants(other);
	check_owners(dev, (struct dax_mapping *[]){ file, other }, 2);
	dax_mapping_put(file);
	dax_mapping_put(other);
	dax_device_put(dev);
}

static struct dax_pin pin_page(struct dax_mapping *mapping, dax_pgoff_t page)
{
	struct dax_pin pin;

	MUST(dax_pin_pages(mapping, (dax_loff_t)(page << DAX_PAGE_SHIFT), DAX_PAGE_SIZE,
			   1, &pin) == DAX_PAGE_SIZE);
	return pin;
}

static void scan(void)
{
	dax_pgoff_t index = 77;
	dax_pfn_t pfn = 77;
	struct dax_pin pin;

	set_up();
	EQ(dax_layout_busy_page_range(file, 0, UINT64_MAX, &index, &pfn), 0);
	pin = pin_page(file, 3);
	EQ(dax_layout_busy_page_range(file, 0, 2, &index, &pfn), 0);
	EQ(dax_layout_busy_page_range(file, 4, UINT64_MAX, &index, &pfn), 0);
	EQ(dax_layout_busy_page_range(other, 0, UINT64_MAX, &index, &pfn), 0);
	EQ(dax_layout_busy_page_range(file, 3, 2, &index, &pfn), 0);
	EQ(dax_layout_busy_page_range(file, UINT64_MAX, UINT64_MAX, NULL, NULL), 0);
	EQ(index, 77);
	EQ(dax_layout_busy_page_range(file, 0, UINT64_MAX, &index, &pfn), 1);
	EQ(index, 3);
	EQ(pfn, pin.pfn);
	EQ(dax_layout_busy_page_range(file, 3, 3, NULL, NULL), 1);
	EQ(dax_break_layout(file, 0, 7, 1), -EBUSY);
	CHECK(errormsg_has("page 3 is pinned"));
	EQ(dax_break_layout(file, 4, 7, 1), 0);
	EQ(dax_unpin_pages(&pin, 0), 0);
	EQ(dax_break_layout(file, 0, 7, 1), 0);
	EQ(dax_break_layout(file, 0, 7, 0), 0);
	tear_down();
}

/* ---- who waits ------------------------------------------------------------------- */

/* Calls that take away page 3 of the file, or let it be shared. */
static int64_t truncate_it(void)
{
	return dax_mapping_truncate(file, 3 * PAGE);
}

static int64_t punch_it(void)
{
	return dax_mapping_punch_hole(file, PAGE, 3 * PAGE);
}

static int64_t clone_it(void)
{
	struct dax_mapping *clone = NULL;
	int ret = dax_mapping_clone(&clone, file);

	if (!ret)
		dax_mapping_put(clone);
	return ret;
}

static int64_t clone_from_it(void)
{
	return dax_mapping_clone_range(other, 0, file, 3 * PAGE, PAGE);
}

static int64_t clone_over_it(void)
{
	return dax_mapping_clone_range(file, 2 * PAGE, other, 0, 2 * PAGE);
}

static int64_t dedupe_it(void)
{
	return dax_mapping_dedupe_range(file, 3 * PAGE, other, 0, PAGE);
}

static int64_t break_it(void)
{
	return dax_break_layout(file, 3, 3, 0);
}

struct waiter {
	struct step step;
	int64_t (*call)(void);
	_Atomic int64_t ret;
};

static void wait_body(void *arg)
{
	struct waiter *w = arg;

	w->ret = w->call();
}

static int64_t (*const calls[])(void) = {
	truncate_it, punch_it, clone_it, clone_from_it, clone_over_it, dedupe_it,
	break_it,
};

enum { NR_CALLS = sizeof(calls) / sizeof(calls[0]) };

/* While it waits it holds no lock; two pins are waited for one by one. */
static void wait_for_pins(int64_t (*call)(void), int64_t ret)
{
	struct waiter w = { .call = call, .ret = 77 };
	struct dax_pin pin, second;

	set_up();
	pin = pin_page(file, 3);
	second = pin_page(file, 3);
	step_start(&w.step, wait_body, &w, DAX_TEST_BEFORE_PIN_WAIT);
	MUST(step_parked(&w.step));
	EQ(get(file, 3 * PAGE), 'f');
	EQ(put(file, 3 * PAGE + 1, 'g'), 0);
	*(char *)pin.kaddr = 'p';
	EQ(get(file, 3 * PAGE), 'p');
	EQ(dax_unpin_pages(&second, 1), 0);
	step_go(&w.step, DAX_TEST_BEFORE_PIN_WAIT);	/* looks, and waits again */
	MUST(step_parked(&w.step));
	EQ(w.ret, 77);
	EQ(dax_unpin_pages(&pin, 1), 0);
	step_go(&w.step, STEP_NOWHERE);
	step_join(&w.step);
	EQ(w.ret, ret);
	tear_down();
}

static void all_wait(void)
{
	for (int i = 0; i < NR_CALLS; i++)
		wait_for_pins(calls[i], calls[i] == dedupe_it ? -EBADE : 0);
}

static void on_signal(int sig)
{
	(void)sig;
}

/* A signal ends the wait; nothing was changed, and no lock is left behind. */
static void interrupt(int64_t (*call)(void))
{
	struct waiter w = { .call = call, .ret = 77 };
	struct dax_pin pin;

	set_up();
	pin = pin_page(file, 3);
	step_start(&w.step, wait_body, &w, STEP_NOWHERE);
	while (!step_finished(&w.step)) {
		pthread_kill(w.step.thread, SIGUSR1);
		sched_yield();
	}
	step_join(&w.step);
	EQ(w.ret, -EINTR);
	EQ(dax_mapping_size(file), PAGES * PAGE);
	CHECK(all_bytes(file, 0, PAGES * PAGE, 'f'));
	CHECK(all_bytes(other, 0, PAGES * PAGE, 'o'));
	EQ(dax_unpin_pages(&pin, 1), 0);
	tear_down();
}

static void all_are_interrupted(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	sigaction(SIGUSR1, &action, NULL);
	for (int i = 0; i < NR_CALLS; i++)
		interrupt(calls[i]);
}

/* Pages that only lose bytes at an edge, and pages of others, are no reason. */
static void who_does_not_wait(void)
{
	struct dax_pin pin;

	set_up();
	pin = pin_page(file, 3);
	EQ(dax_mapping_punch_hole(file, 3 * PAGE + 1, PAGE), 0);
	EQ(dax_mapping_punch_hole(file, 4 * PAGE, PAGE), 0);
	EQ(dax_mapping_truncate(file, 3 * PAGE + 1), 0);
	EQ(dax_mapping_truncate(file, PAGES * PAGE), 0);
	EQ(dax_mapping_fallocate(file, 0, PAGES * PAGE), 0);
	EQ(dax_mapping_clone_range(other, 0, file, 0, 3 * PAGE), 0);
	EQ(dax_mapping_dedupe_range(other, 0, file, 0, 3 * PAGE), 3 * PAGE);
	EQ(dax_mapping_truncate(other, 0), 0);
	EQ(*(char *)pin.kaddr, 'f');
	EQ(((char *)pin.kaddr)[1], 0);
	EQ(dax_unpin_pages(&pin, 1), 0);
	EQ(get(file, 3 * PAGE), 'f');
	tear_down();
}

/* A frame of two files, pinned through one, holds up the other: who frees does
 * not know through which file it was pinned. */
static void pinned_through_a_clone(void)
{
	struct dax_pin pin;

	set_up();
	EQ(dax_mapping_clone_range(other, 0, file, 0, 4 * PAGE), 0);
	EQ(dax_pin_pages(other, 3 * PAGE, PAGE, 0, &pin), PAGE);
	EQ(dax_break_layout(file, 3, 3, 1), -EBUSY);
	EQ(put(file, 3 * PAGE, 'w'), 0);	/* a store moves on to a copy */
	EQ(*(char *)pin.kaddr, 'f');
	EQ(dax_break_layout(file, 3, 3, 1), 0);
	EQ(dax_unpin_pages(&pin, 0), 0);
	tear_down();
}

int main(void)
{
	plan(5);
	run("the scan finds what is pinned, and where", scan);
	run("what takes blocks away waits, without locks", all_wait);
	run("a signal ends the wait", all_are_interrupted);
	run("what takes none away does not wait", who_does_not_wait);
	run("a shared frame, pinned through the other file", pinned_through_a_clone);
	return done();
}
