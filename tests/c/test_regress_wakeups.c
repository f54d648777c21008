/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_regress_wakeups.c -- threads that slept for an entry and were not woken
 *
 * Faults the kernel had here:
 *
 *   readers_of_one_hole	page-cache policy: the first reader turns the
 *				entry the others sleep for into a page; one
 *				wake-up for many sleepers left the third asleep
 *   waiters_that_never_lock	a sleeper that only wanted to look consumed the
 *				wake-up
 *   sleep_holding_nothing	a retry with the tree's lock still held
 *   three_invalidators		one entry locked by a fault, three wait to
 *				remove it: the first does, and woke only one
 *   one_unlock_three_kinds	holder, truncate and two writebacks: truncate
 *				wakes one, who finds nothing and wakes nobody
 */
#include "invalidate.h"
#include "invariants.h"
#include "step.h"
#include "white_box.h"

enum { PAGES = 4 * PMD_PAGES, PAGE = PMD_PAGES + 3, READERS = 9 };

static struct dax_vma *vma;

static void set_up(unsigned int policy)
{
	fx_file(PAGES << DAX_PAGE_SHIFT, policy, NULL);
	vma = fx_vma(0, PAGES, RW_SHARED, DAX_PAGES_PTE);
	dax_test = (struct dax_test_hooks){ .yield = step_yield, .no_spin = true };
}

static void tear_down(void)
{
	dax_test = (struct dax_test_hooks){ 0 };
	check_invariants(fx.file);
	dax_vma_put(vma);
	fx_close();
}

static void read_body(void *arg)
{
	char byte = 'x';

	EQ(dax_vma_read(arg, &byte, 1, PAGE << DAX_PAGE_SHIFT, NULL), 1);
	CHECK(byte == 0 || byte == 'w');	/* a writer may come in before the load */
}

static void write_body(void *arg)
{
	EQ(dax_vma_write(arg, "w", 1, PAGE << DAX_PAGE_SHIFT, NULL), 1);
}

static void invalidate_body(void *arg)
{
	struct percpu_area *area;
	int *ret = arg;

	MUST(!mapping_lock_shared(fx.file, &area));
	*ret = invalidate_pages_range(fx.file, area, PAGE, PAGE, false, 0);
	mapping_unlock_shared(fx.file, area);
}

static bool nothing(const struct dax_slot *slot, const void *unused)
{
	(void)slot;
	(void)unused;
	return false;
}

static bool any_entry(const struct dax_slot *slot, const void *unused)
{
	(void)unused;
	return slot->iter.entry;
}

static void lock_and_unlock(bool (*wanted)(const struct dax_slot *, const void *))
{
	struct percpu_area *area;
	struct dax_slot slot;

	MUST(!mapping_lock_shared(fx.file, &area));
	dax_slot_init(&slot, fx.file, area, PAGE);
	if (lock_slot_if(&slot, wanted, NULL))
		put_locked_mapping_entry(&slot);
	mapping_unlock_shared(fx.file, area);
}

/* Looks only: gets what stands there, and leaves. */
static void look_body(void *unused)
{
	(void)unused;
	lock_and_unlock(nothing);
}

/* As writeback: lock and unlock what is there. */
static void writeback_body(void *unused)
{
	(void)unused;
	lock_and_unlock(any_entry);
}

/* A fault stands in front of the unlock of PAGE's entry. */
static void hold_entry(struct step *holder, void (*body)(void *arg))
{
	step_start(holder, body, vma, DAX_TEST_AFTER_GRAB);
	CHECK(step_parked(holder));
	CHECK(word_at(PAGE) & DAX_LOCKED);
}

static void release(struct step *holder)
{
	step_go(holder, STEP_NOWHERE);
	step_join(holder);
}

/* ---- readers ------------------------------------------------------------------------------- */

static void check_readers(unsigned int policy)
{
	struct step first, others[READERS - 1];

	set_up(policy);
	hold_entry(&first, read_body);
	for (int i = 0; i < READERS - 1; i++)
		step_start_asleep(&others[i], read_body, vma, STEP_NOWHERE);
	release(&first);
	for (int i = 0; i < READERS - 1; i++)
		step_join(&others[i]);
	if (policy == DAX_POLICY_PAGE_CACHE)
		EQ(fx.file->policy->bytes(fx.file), DAX_PAGE_SIZE);
	tear_down();
}

static void readers_of_one_hole(void)
{
	check_readers(DAX_POLICY_PAGE_CACHE);
	check_readers(DAX_POLICY_ZERO_PAGE);
}

/* And nobody is left in the queue at the moment it becomes a page. */
static void page_wakes_all_readers(void)
{
	struct exceptional_entry_key key = { .entry_start = PAGE };
	struct step first, others[READERS - 1];

	set_up(DAX_POLICY_PAGE_CACHE);
	key.owner = fx.file;
	hold_entry(&first, read_body);
	for (int i = 0; i < READERS - 1; i++)
		step_start_asleep(&others[i], read_body, vma, DAX_TEST_WOKEN);
	step_go(&first, DAX_TEST_BEFORE_UNLOCK);
	CHECK(step_parked(&first));
	EQ(wait_count(key), 0);
	release(&first);
	for (int i = 0; i < READERS - 1; i++)
		release(&others[i]);
	tear_down();
}

/* ---- waiters that never lock ------------------------------------------------------------------ */

/* The first two in the queue only look; the third wants the entry. */
static void waiters_that_never_lock(void)
{
	struct step holder, look[2], last;

	set_up(DAX_POLICY_ZERO_PAGE);
	hold_entry(&holder, read_body);
	for (int i = 0; i < 2; i++)
		step_start_asleep(&look[i], look_body, NULL, STEP_NOWHERE);
	step_start_asleep(&last, write_body, vma, STEP_NOWHERE);
	release(&holder);
	step_join(&look[0]);
	step_join(&look[1]);
	step_join(&last);
	CHECK(is_dirty(PAGE));
	tear_down();
}

/* Asleep, a thread holds nothing: its bucket and every other entry are free. */
static void sleep_holding_nothing(void)
{
	struct step holder, sleeper;

	set_up(DAX_POLICY_ZERO_PAGE);
	hold_entry(&holder, read_body);
	step_start_asleep(&sleeper, write_body, vma, STEP_NOWHERE);
	EQ(wait_count((struct exceptional_entry_key){ .owner = fx.file,
						      .entry_start = PAGE }), 1);
	EQ(dax_vma_fault(vma, 0, 0, NULL), DAX_VM_FAULT_NOPAGE);
	EQ(dax_vma_fault(vma, 3 * PMD_PAGES, 1, NULL),
	   DAX_VM_FAULT_NOPAGE | DAX_VM_FAULT_MAJOR);
	release(&holder);
	step_join(&sleeper);
	tear_down();
}

/* The entry is taken by somebody who does not sleep, between a sleeper's look
 * and its lock: it looks again, and in the end gets it. */
static void contended_lock(void)
{
	struct step holder, sleeper, quick;

	set_up(DAX_POLICY_ZERO_PAGE);
	hold_entry(&holder, read_body);
	step_start_asleep(&sleeper, writeback_body, NULL, DAX_TEST_WOKEN);
	release(&holder);
	CHECK(step_parked(&sleeper));		/* awake, has not looked */
	step_start(&quick, writeback_body, NULL, DAX_TEST_BEFORE_UNLOCK);
	CHECK(step_parked(&quick));		/* was quicker */
	step_go(&sleeper, DAX_TEST_BEFORE_SLEEP);
	CHECK(step_parked(&sleeper));		/* so it sleeps again */
	release(&quick);
	release(&sleeper);
	tear_down();
}

/* ---- invalidators ---------------------------------------------------------------------------------- */

static void check_invalidators(unsigned int policy, int nr)
{
	struct step holder, step[8];
	int ret[8];

	set_up(policy);
	hold_entry(&holder, read_body);
	for (int i = 0; i < nr; i++)
		step_start_asleep(&step[i], invalidate_body, &ret[i], STEP_NOWHERE);
	release(&holder);
	for (int i = 0; i < nr; i++) {
		step_join(&step[i]);
		EQ(ret[i], 0);
	}
	tear_down();
}

static void three_invalidators(void)
{
	check_invalidators(DAX_POLICY_ZERO_PAGE, 3);
	check_invalidators(DAX_POLICY_ZERO_PAGE, 8);
	check_invalidators(DAX_POLICY_PAGE_CACHE, 3);
}

/* Holder of a dirty entry: they wait as well, and leave it alone. */
static void three_invalidators_of_a_dirty_entry(void)
{
	struct step holder, step[3];
	int ret[3];

	set_up(DAX_POLICY_ZERO_PAGE);
	hold_entry(&holder, write_body);
	for (int i = 0; i < 3; i++)
		step_start_asleep(&step[i], invalidate_body, &ret[i], STEP_NOWHERE);
	release(&holder);
	for (int i = 0; i < 3; i++) {
		step_join(&step[i]);
		EQ(ret[i], -EBUSY);
	}
	CHECK(is_dirty(PAGE));
	tear_down();
}

/* ---- four actors, in the order that hung --------------------------------------------------------------- */

/* The queue is: remover, writeback, writeback; every wake-up is stepped. */
static void one_unlock_three_kinds(void)
{
	struct step holder, remover, writer[2];
	int ret;

	set_up(DAX_POLICY_ZERO_PAGE);
	hold_entry(&holder, read_body);
	step_start_asleep(&remover, invalidate_body, &ret, DAX_TEST_INVALIDATE_LOCKED);
	step_start_asleep(&writer[0], writeback_body, NULL, STEP_NOWHERE);
	step_start_asleep(&writer[1], writeback_body, NULL, STEP_NOWHERE);
	release(&holder);
	CHECK(step_parked(&remover));
	release(&remover);
	EQ(ret, 0);
	step_join(&writer[0]);
	step_join(&writer[1]);
	EQ(entries(), 0);
	tear_down();
}

#define RUN(test) run(#test, test)

int main(void)
{
	plan(8);
	RUN(readers_of_one_hole);
	RUN(page_wakes_all_readers);
	RUN(waiters_that_never_lock);
	RUN(sleep_holding_nothing);
	RUN(contended_lock);
	RUN(three_invalidators);
	RUN(three_invalidators_of_a_dirty_entry);
	RUN(one_unlock_three_kinds);
	return done();
}
