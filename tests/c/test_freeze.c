/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_freeze.c -- a frozen file: who waits, who does not, who wakes whom
 */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "invariants.h"
#include "oom.h"
#include "stats.h"
#include "step.h"
#include "white_box.h"

enum {
	FILE_PAGES = 4 * PMD_PAGES,
	BYTES = FILE_PAGES * DAX_PAGE_SIZE,
	DATA = 3	/* a page that was written */
};

static struct dax_vma *shared, *huge, *private;

static void open_policy(unsigned int policy)
{
	fx_file(BYTES, policy, NULL);
	shared = fx_vma(0, FILE_PAGES, RW_SHARED, DAX_PAGES_PTE);
	huge = fx_vma(0, FILE_PAGES, RW_SHARED, DAX_PAGES_AUTO);
	private = fx_vma(0, FILE_PAGES, RW_PRIVATE, DAX_PAGES_AUTO);
	dax_test.yield = step_yield;
}

static void set_up(void)
{
	open_policy(DAX_POLICY_ZERO_PAGE);
}

static void tear_down(void)
{
	dax_test = (struct dax_test_hooks){ 0 };
	check_invariants(fx.file);
	dax_vma_put(private);
	dax_vma_put(huge);
	dax_vma_put(shared);
	fx_close();
}

static int store_at(struct dax_vma *vma, dax_pgoff_t page, char value)
{
	return (int)dax_vma_write(vma, &value, 1, page << DAX_PAGE_SHIFT, NULL);
}

static uint64_t dirty(void)
{
	uint64_t nr = 0;

	for (dax_pgoff_t i = 0; i < FILE_PAGES; i++)
		nr += is_dirty(i);
	return nr;
}

/* ---- the states ------------------------------------------------------------------------- */

static void freeze_and_thaw(void)
{
	set_up();
	EQ(dax_mapping_thaw(fx.file), -EINVAL);
	EQ(dax_mapping_freeze(fx.file), 0);
	EQ(dax_mapping_freeze(fx.file), -EBUSY);
	EQ(dax_mapping_thaw(fx.file), 0);
	EQ(dax_mapping_thaw(fx.file), -EINVAL);
	EQ(dax_mapping_freeze(fx.file), 0);
	EQ(dax_mapping_thaw(fx.file), 0);
	tear_down();
}

static void is_clean(void)
{
	set_up();
	EQ(store_at(shared, DATA, 1), 1);
	EQ(store_at(huge, PMD_PAGES, 2), 1);
	CHECK(dirty());
	EQ(dax_mapping_freeze(fx.file), 0);
	EQ(dirty(), 0);
	for (dax_pgoff_t i = 0; i < FILE_PAGES; i++)
		CHECK(!((vma_soft_leaf(shared, i) | vma_soft_leaf(huge, i)) &
			(LEAF_WRITE | LEAF_DIRTY)));
	check_invariants(fx.file);
	EQ(dax_mapping_thaw(fx.file), 0);
	EQ(store_at(shared, DATA, 3), 1);
	EQ(dirty(), 1);
	tear_down();
}

/* What does not change the file goes on. */
static void others_go_on(void)
{
	struct dax_vma *more;
	char byte = 0;

	set_up();
	EQ(store_at(shared, DATA, 7), 1);
	EQ(dax_mapping_freeze(fx.file), 0);
	EQ(load_page(shared, DATA), 7);
	EQ(load_page(huge, 2 * PMD_PAGES), 0);
	EQ(dax_mapping_pread(fx.file, &byte, 1, 0), 1);
	EQ(store_at(private, DATA, 8), 1);
	EQ(load_page(private, DATA), 8);
	more = fx_vma(0, FILE_PAGES, RW_SHARED, DAX_PAGES_PTE);
	EQ(load_page(more, DATA), 7);
	dax_vma_put(more);
	EQ(dax_vma_dontneed(shared, 0, BYTES), 0);
	EQ(dax_mapping_fsync(fx.file, NULL), 0);
	EQ(dax_mapping_writeback(fx.file, 0, BYTES), 0);
	EQ(dirty(), 0);
	EQ(dax_mapping_thaw(fx.file), 0);
	tear_down();
}

static struct dax_iomap_ops failing_ops;
static int sync_ret;

static int failing_sync(struct dax_mapping *mapping, void *private_data)
{
	(void)mapping;
	(void)private_data;
	return sync_ret;
}

static void writeback_fails(void)
{
	failing_ops = fx_ops;
	failing_ops.sync = failing_sync;
	fx_file(BYTES, DAX_POLICY_ZERO_PAGE, &failing_ops);
	sync_ret = -ENOTSUP;
	EQ(dax_mapping_freeze(fx.file), -ENOTSUP);
	EQ(dax_mapping_thaw(fx.file), -EINVAL);
	sync_ret = 0;
	EQ(dax_mapping_freeze(fx.file), 0);
	EQ(dax_mapping_thaw(fx.file), 0);
	fx_close();
}

/* The last reference goes while the file is frozen. */
static void closed_while_frozen(void)
{
	fx_open_real(FILE_PAGES);
	EQ(dax_mapping_freeze(fx.file), 0);
	fx_close();
}

/* ---- who waits ------------------------------------------------------------------------------ */

struct call {
	int (*fn)(void);
	int ret;
};

static int by_store(void)
{
	return store_at(shared, DATA, 5) - 1;
}

static int by_store_to_hole(void)
{
	return store_at(shared, DATA + 1, 5) - 1;
}

static int by_huge_store(void)
{
	return store_at(huge, 2 * PMD_PAGES, 5) - 1;
}

static int by_fault(void)
{
	return !(dax_vma_fault(shared, DATA, 1, NULL) & DAX_VM_FAULT_NOPAGE);
}

static int by_fault_range(void)
{
	return dax_vma_fault_range(shared, DATA, 2, 1, NULL, 0, NULL) < 2;
}

static int by_pwrite(void)
{
	return (int)dax_mapping_pwrite(fx.file, "x", 1, 0) - 1;
}

static int by_truncate(void)
{
	return dax_mapping_truncate(fx.file, BYTES - DAX_PAGE_SIZE);
}

static int by_fallocate(void)
{
	return dax_mapping_fallocate(fx.file, 0, 1 << 20);
}

static int by_punch(void)
{
	return dax_mapping_punch_hole(fx.file, 0, 1 << 20);
}

static int by_zero_range(void)
{
	return dax_mapping_zero_range(fx.file, 0, 1 << 20);
}

static int by_pin(void)
{
	struct dax_pin pin;

	if (dax_pin_pages(fx.file, DATA * DAX_PAGE_SIZE, 1, 1, &pin) != 1)
		return -1;
	return dax_unpin_pages(&pin, 1);
}

static int (*const changes[])(void) = {
	by_store, by_store_to_hole, by_huge_store, by_fault, by_fault_range,
	by_pwrite, by_truncate, by_fallocate, by_punch, by_zero_range, by_pin,
};

enum { NR_CHANGES = sizeof(changes) / sizeof(changes[0]) };

static void make_call(void *arg)
{
	struct call *call = arg;

	call->ret = call->fn();
}

/* Each comes to sleep with no lock held, and is done after the thaw. */
static void check_waits(unsigned int policy)
{
	for (unsigned int i = 0; i < NR_CHANGES; i++) {
		struct call call = { .fn = changes[i], .ret = -1 };
		struct step step;

		open_policy(policy);
		EQ(store_at(shared, DATA, 1), 1);
		EQ(dax_mapping_freeze(fx.file), 0);
		step_start(&step, make_call, &call, DAX_TEST_FROZEN);
		MUST(step_parked(&step));
		EQ(load_page(shared, DATA), 1);
		EQ(dirty(), 0);
		/* Both locks are free. */
		MUST(!mapping_lock_exclusive(fx.file));
		mapping_unlock_exclusive(fx.file);
		MUST(!i_rwsem_lock_exclusive(fx.file));
		i_rwsem_unlock(fx.file);
		step_go(&step, STEP_NOWHERE);
		EQ(dax_mapping_thaw(fx.file), 0);
		step_join(&step);
		EQ(call.ret, 0);
		tear_down();
	}
}

static void changes_wait(void)
{
	check_waits(DAX_POLICY_ZERO_PAGE);
}

static void changes_wait_page_cache(void)
{
	check_waits(DAX_POLICY_PAGE_CACHE);
}

/* A pin to read is given at once; one to write is given back at once. */
static void pins(void)
{
	struct dax_pin to_read, to_write;

	set_up();
	EQ(store_at(shared, DATA, 1), 1);
	EQ(dax_pin_pages(fx.file, DATA * DAX_PAGE_SIZE, 1, 1, &to_write), 1);
	EQ(dax_mapping_freeze(fx.file), 0);
	EQ(dax_pin_pages(fx.file, DATA * DAX_PAGE_SIZE, 1, 0, &to_read), 1);
	EQ(dax_unpin_pages(&to_read, 0), 0);
	EQ(dax_unpin_pages(&to_write, 1), 0);
	EQ(dirty(), 1);
	EQ(dax_mapping_thaw(fx.file), 0);
	tear_down();
}

/* Thawed and frozen again before the sleeper has looked: it sleeps on. */
static void frozen_again(void)
{
	struct call call = { .fn = by_store, .ret = -1 };
	struct step step;

	set_up();
	EQ(dax_mapping_freeze(fx.file), 0);
	step_start(&step, make_call, &call, DAX_TEST_FROZEN);
	MUST(step_parked(&step));
	EQ(dax_mapping_thaw(fx.file), 0);
	EQ(dax_mapping_freeze(fx.file), 0);
	step_go(&step, DAX_TEST_FROZEN);
	MUST(step_parked(&step));
	EQ(load_page(shared, DATA), 0);
	EQ(dax_mapping_thaw(fx.file), 0);
	step_go(&step, STEP_NOWHERE);
	step_join(&step);
	EQ(call.ret, 0);
	tear_down();
}

static void freeze_file(void *arg)
{
	*(int *)arg = dax_mapping_freeze(fx.file);
}

/* A freeze waits for the store that is inside the frame, and writes it back. */
static void store_inside(void)
{
	struct call call = { .fn = by_store, .ret = -1 };
	struct step store, freeze;
	int ret = 1;

	set_up();
	step_start(&store, make_call, &call, DAX_TEST_STORE_INSIDE);
	MUST(step_parked(&store));
	step_start(&freeze, freeze_file, &ret, STEP_NOWHERE);
	while (READ_ONCE(fx.file->invalidate_lock.state) == PERCPU_RWSEM_READERS)
		sched_yield();
	CHECK(!step_finished(&freeze));
	step_go(&store, STEP_NOWHERE);
	step_join(&store);
	step_join(&freeze);
	EQ(ret, 0);
	EQ(call.ret, 0);
	EQ(load_page(shared, DATA), 5);
	EQ(dirty(), 0);
	EQ(dax_mapping_thaw(fx.file), 0);
	tear_down();
}

/* Between the two halves: changes wait already, it can be neither thawed nor
 * frozen; a store through a leaf that is writable still is written back. */
static void while_freezing(void)
{
	struct call call = { .fn = by_store_to_hole, .ret = -1 };
	struct step freeze, store;
	int ret = 1;

	set_up();
	EQ(store_at(shared, DATA, 1), 1);
	step_start(&freeze, freeze_file, &ret, DAX_TEST_FREEZING);
	MUST(step_parked(&freeze));
	EQ(dax_mapping_thaw(fx.file), -EINVAL);
	EQ(dax_mapping_freeze(fx.file), -EBUSY);
	EQ(store_at(shared, DATA, 2), 1);
	step_start(&store, make_call, &call, DAX_TEST_FROZEN);
	MUST(step_parked(&store));
	step_go(&freeze, STEP_NOWHERE);
	step_join(&freeze);
	EQ(ret, 0);
	EQ(dirty(), 0);
	step_go(&store, STEP_NOWHERE);
	EQ(dax_mapping_thaw(fx.file), 0);
	step_join(&store);
	EQ(call.ret, 0);
	tear_down();
}

/* ---- what ends the wait ------------------------------------------------------------------------ */

static void kill_wakes(void)
{
	struct call call = { .ret = -1 };
	struct step step;

	for (unsigned int i = 0; i < 2; i++) {
		for (unsigned int asleep = 0; asleep < 2; asleep++) {
			set_up();
			EQ(dax_mapping_freeze(fx.file), 0);
			call.fn = i ? by_pwrite : by_store;
			step_start(&step, make_call, &call, DAX_TEST_FROZEN);
			MUST(step_parked(&step));
			if (asleep)
				step_go(&step, STEP_NOWHERE);
			EQ(dax_device_kill(fx.dev), 0);
			if (!asleep)
				step_go(&step, STEP_NOWHERE);
			step_join(&step);
			EQ(call.ret, -ENXIO - 1);
			tear_down();
		}
	}
}

static void on_signal(int sig)
{
	(void)sig;
}

static int interrupted;

static int by_store_twice(void)
{
	interrupted = store_at(shared, DATA, 5);
	return store_at(shared, DATA, 6) - 1;
}

/* A signal ends the wait with nothing done; the call is repeated. */
static void signal_ends_it(void)
{
	struct sigaction action = { .sa_handler = on_signal }, old;
	struct call call = { .fn = by_store_twice, .ret = -1 };
	struct step step;

	set_up();
	MUST(!sigaction(SIGUSR1, &action, &old));
	EQ(dax_mapping_freeze(fx.file), 0);
	step_start(&step, make_call, &call, DAX_TEST_FROZEN);
	MUST(step_parked(&step));
	interrupted = 0;
	step_go(&step, STEP_NOWHERE);
	while (!*(volatile int *)&interrupted) {	/* until it has fallen asleep */
		pthread_kill(step.thread, SIGUSR1);
		sched_yield();
	}
	EQ(interrupted, -EINTR);
	EQ(load_page(shared, DATA), 0);
	EQ(dax_mapping_thaw(fx.file), 0);
	step_join(&step);
	CHECK(call.ret == 0 || call.ret == -EINTR - 1);
	sigaction(SIGUSR1, &old, NULL);
	tear_down();
}

static void forked(void)
{
	int status = 1;
	pid_t child;

	set_up();
	EQ(dax_mapping_freeze(fx.file), 0);
	child = fork();
	MUST(child >= 0);
	if (!child)
		_exit(dax_mapping_thaw(fx.file) != -ESTALE ||
		      dax_mapping_freeze(fx.file) != -ESTALE ||
		      store_at(shared, DATA, 1) != -ESTALE);
	EQ(waitpid(child, &status, 0), child);
	EQ(status, 0);
	EQ(dax_mapping_thaw(fx.file), 0);
	tear_down();
}

static int inside_ret;

static void freeze_inside(void)
{
	inside_ret = dax_mapping_freeze(fx.file);
}

static void from_a_block_map(void)
{
	fx_open(FILE_PAGES);
	shared = fx_vma(0, FILE_PAGES, RW_SHARED, DAX_PAGES_PTE);
	fx.map.on_begin = freeze_inside;
	EQ(dax_vma_fault(shared, 0, 0, NULL), DAX_VM_FAULT_NOPAGE);
	EQ(inside_ret, -EDEADLK);
	EQ(dax_mapping_thaw(fx.file), -EINVAL);
	dax_vma_put(shared);
	fx_close();
}

static void no_memory(void)
{
	set_up();
	EQ(store_at(shared, DATA, 1), 1);
	OOM_LOOP(n) {
		int ret;

		oom_fail_nth(n);
		ret = dax_mapping_freeze(fx.file);
		oom_clear();
		CHECK(ret == 0 || ret == -ENOMEM);
		EQ(dax_mapping_thaw(fx.file), ret ? -EINVAL : 0);
		if (!oom_fired())
			break;
	}
	tear_down();
}

#define RUN(test) run(#test, test)

int main(void)
{
	plan(16);
	RUN(freeze_and_thaw);
	RUN(is_clean);
	RUN(others_go_on);
	RUN(writeback_fails);
	RUN(closed_while_frozen);
	RUN(changes_wait);
	RUN(changes_wait_page_cache);
	RUN(pins);
	RUN(frozen_again);
	RUN(store_inside);
	RUN(while_freezing);
	RUN(kill_wakes);
	RUN(signal_ends_it);
	RUN(forked);
	RUN(from_a_block_map);
	RUN(no_memory);
	return done();
}
