/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_lock_entry.c -- an entry lock held by a caller of the library
 */
#include <sys/wait.h>

#include "invariants.h"
#include "lock_entry.h"
#include "oom.h"
#include "stats.h"
#include "step.h"
#include "white_box.h"

enum {
	FILE_PAGES = 4 * PMD_PAGES,
	BASE = PMD_PAGES,
	INNER = PMD_PAGES + 188,
	BYTES = FILE_PAGES * DAX_PAGE_SIZE
};

static struct dax_vma *shared;
static struct dax_entry_cookie *cookie;
static struct dax_entry_info row;

static void set_up(void)
{
	fx_open_real(FILE_PAGES);
	shared = fx_vma(0, FILE_PAGES, RW_SHARED, DAX_PAGES_AUTO);
	cookie = NULL;
	memset(&row, 0, sizeof(row));
	dax_test.yield = step_yield;
}

static void tear_down(void)
{
	check_invariants(fx.file);
	dax_vma_put(shared);
	fx_close();
	dax_test = (struct dax_test_hooks){ 0 };
}

static int lock(dax_pgoff_t index, unsigned int order)
{
	return dax_lock_mapping_entry(fx.file, index, order, &row, &cookie);
}

static void unlock(void)
{
	EQ(dax_unlock_mapping_entry(cookie), 0);
}

/* ---- what is locked ------------------------------------------------------------------ */

static void an_absent_page(void)
{
	set_up();
	EQ(lock(INNER, 0), 0);
	EQ(row.index, INNER);
	EQ(row.order, 0);
	CHECK(row.empty && row.locked && !row.zero && !row.dirty);
	EQ(word_at(INNER), word(0, DAX_EMPTY) | DAX_LOCKED);
	unlock();
	EQ(word_at(INNER), word(0, DAX_EMPTY));
	tear_down();
}

static void an_absent_pmd(void)
{
	set_up();
	EQ(lock(INNER, DAX_PMD_ORDER), 0);
	EQ(row.index, BASE);
	EQ(row.order, DAX_PMD_ORDER);
	CHECK(row.empty && row.locked);
	unlock();
	EQ(word_at(INNER), word(0, DAX_EMPTY | DAX_PMD));
	tear_down();
}

static void a_zero_page(void)
{
	set_up();
	plant(INNER, 0, DAX_ZERO_PAGE);
	EQ(lock(INNER, 0), 0);
	CHECK(row.zero && row.locked);
	EQ(row.pfn, DAX_ZERO_PFN);
	unlock();
	EQ(word_at(INNER), word(0, DAX_ZERO_PAGE));
	tear_down();
}

/* By an inner page: the entry is locked and unlocked as it is. */
static void a_pmd_with_storage(void)
{
	char byte = 1;

	set_up();
	EQ(dax_vma_write(shared, &byte, 1, (uint64_t)BASE << DAX_PAGE_SHIFT, NULL), 1);
	MUST(word_at(INNER) & DAX_PMD);
	EQ(lock(INNER, 0), 0);
	EQ(row.index, BASE);
	EQ(row.order, DAX_PMD_ORDER);
	CHECK(row.dirty && row.locked);
	CHECK(word_at(BASE) & DAX_LOCKED);
	unlock();
	CHECK(!(word_at(BASE) & DAX_LOCKED));
	tear_down();
}

static void a_pmd_without(void)
{
	set_up();
	EQ(dax_vma_fault(shared, INNER, 0, NULL), DAX_VM_FAULT_NOPAGE);
	MUST(word_at(INNER) & DAX_PMD);
	EQ(lock(INNER, 0), 0);
	EQ(row.index, INNER);
	EQ(row.order, 0);
	CHECK(row.empty);
	EQ(vma_soft_leaf(shared, BASE), 0);
	unlock();
	tear_down();
}

static void a_cached_page(void)
{
	fx_file(BYTES, DAX_POLICY_PAGE_CACHE, NULL);
	shared = fx_vma(0, FILE_PAGES, RW_SHARED, DAX_PAGES_PTE);
	EQ(dax_vma_fault(shared, INNER, 0, NULL), DAX_VM_FAULT_NOPAGE);
	EQ(lock(INNER, 0), 0);
	CHECK(row.page);
	unlock();
	tear_down();
}

static void refused(void)
{
	set_up();
	plant(INNER, 0, DAX_ZERO_PAGE);
	EQ(lock(BASE, DAX_PMD_ORDER), -EEXIST);
	CHECK(strstr(dax_errormsg(), "4 KiB"));
	EQ(lock(FILE_PAGES, 0), -EINVAL);
	EQ(lock(UINT64_MAX, 0), -EINVAL);
	EQ(lock(UINT64_MAX, DAX_PMD_ORDER), -EINVAL);
	EQ(lock(0, 3), -EINVAL);
	EQ(lock(0, DAX_PUD_ORDER), -EINVAL);
	EQ(dax_mapping_truncate(fx.file, BYTES - DAX_PAGE_SIZE), 0);
	EQ(lock(3 * PMD_PAGES, DAX_PMD_ORDER), -EINVAL);
	EQ(lock(FILE_PAGES - 1, 0), -EINVAL);
	CHECK(!cookie);
	EQ(dax_mapping_truncate(fx.file, 0), 0);
	EQ(lock(0, 0), -EINVAL);
	tear_down();
}

static void no_memory(void)
{
	set_up();
	enter();	/* the thread's area is made */
	leave();
	OOM_LOOP(n) {
		int ret;

		oom_fail_nth(n);
		ret = lock(INNER, 0);
		oom_clear();
		if (!oom_fired()) {
			EQ(ret, 0);
			break;
		}
		EQ(ret, -ENOMEM);
		CHECK(!cookie);
		check_invariants(fx.file);
	}
	CHECK(oom_rounds() > 1);
	unlock();
	tear_down();
}

/* ---- meanwhile ---------------------------------------------------------------------------- */

static void other_calls_of_the_thread(void)
{
	struct dax_entry_cookie *second = NULL;
	struct dax_entry_info info;
	dax_pgoff_t index = 0;
	dax_loff_t pos = 0;
	struct dax_extent extent;
	char byte = 0;

	set_up();
	EQ(lock(INNER, 0), 0);
	EQ(dax_lock_mapping_entry(fx.file, 0, 0, NULL, &second), -EDEADLK);
	CHECK(strstr(dax_errormsg(), "holds an entry lock"));
	CHECK(!second);
	EQ(dax_vma_fault(shared, 0, 0, NULL), -EDEADLK);
	EQ(dax_vma_read(shared, &byte, 1, 0, NULL), -EDEADLK);
	EQ(dax_vma_write(shared, &byte, 1, 0, NULL), -EDEADLK);
	EQ(dax_mapping_pread(fx.file, &byte, 1, 0), -EDEADLK);
	EQ(dax_mapping_pwrite(fx.file, &byte, 1, 0), -EDEADLK);
	EQ(dax_mapping_truncate(fx.file, 0), -EDEADLK);
	EQ(dax_mapping_punch_hole(fx.file, 0, 4096), -EDEADLK);
	EQ(dax_mapping_fallocate(fx.file, 0, 4096), -EDEADLK);
	EQ(dax_mapping_zero_range(fx.file, 0, 4096), -EDEADLK);
	EQ(dax_mapping_writeback(fx.file, 0, 4096), -EDEADLK);
	EQ(dax_mapping_fsync(fx.file, NULL), -EDEADLK);
	EQ(dax_mapping_entries(fx.file, &index, &info, 1), -EDEADLK);
	EQ(dax_mapping_extents(fx.file, &pos, &extent, 1), -EDEADLK);
	EQ(dax_vma_dontneed(shared, 0, 4096), -EDEADLK);
	EQ(dax_device_kill(fx.dev), -EDEADLK);
	unlock();
	EQ(dax_vma_read(shared, &byte, 1, 0, NULL), 1);
	tear_down();
}

/* The last reference to a vma goes while its thread holds an entry. */
static void unmap_meanwhile(void)
{
	struct dax_vma *vma;

	set_up();
	vma = fx_vma(0, FILE_PAGES, RW_SHARED, DAX_PAGES_PTE);
	EQ(dax_vma_fault(vma, INNER, 0, NULL), DAX_VM_FAULT_NOPAGE);
	EQ(lock(INNER, 0), 0);
	dax_vma_put(vma);
	CHECK(fx.file->unfreed == vma);
	unlock();
	CHECK(!fx.file->unfreed);
	CHECK(fx.file->i_mmap == shared && !shared->i_mmap_next);
	tear_down();
}

/* All references but the cookie's go. */
static void close_meanwhile(void)
{
	set_up();
	check_invariants(fx.file);
	EQ(lock(INNER, 0), 0);
	dax_vma_put(shared);
	dax_mapping_put(fx.file);
	EQ(dax_device_nr_files(fx.dev), 1);
	unlock();
	EQ(dax_device_nr_files(fx.dev), 0);
	dax_device_put(fx.dev);
	dax_test = (struct dax_test_hooks){ 0 };
}

static void fault_inner(void *arg)
{
	*(int *)arg = dax_vma_fault(shared, INNER, 1, NULL);
}

static void a_fault_waits(void)
{
	struct step step;
	int ret = 0;

	set_up();
	dax_test.no_spin = true;
	EQ(lock(INNER, 0), 0);
	step_start_asleep(&step, fault_inner, &ret, STEP_NOWHERE);
	EQ(count(DAX_STAT_ENTRY_WAIT), 1);
	unlock();
	step_join(&step);
	CHECK(ret & DAX_VM_FAULT_NOPAGE);
	tear_down();
}

static void fault_other(void *arg)
{
	*(int *)arg = dax_vma_fault(shared, 0, 1, NULL);
}

static void other_pages_do_not(void)
{
	struct step step;
	int ret = 0;

	set_up();
	EQ(lock(INNER, 0), 0);
	step_start(&step, fault_other, &ret, STEP_NOWHERE);
	step_join(&step);
	CHECK(ret & DAX_VM_FAULT_NOPAGE);
	unlock();
	tear_down();
}

static void cut(void *arg)
{
	*(int *)arg = dax_mapping_truncate(fx.file, 0);
}

/* A truncate waits for the holder; it has announced itself. */
static void a_truncate_waits(void)
{
	struct step step;
	int ret = 1;

	set_up();
	EQ(lock(INNER, 0), 0);
	step_start(&step, cut, &ret, STEP_NOWHERE);
	while (READ_ONCE(fx.file->invalidate_lock.state) == PERCPU_RWSEM_READERS)
		sched_yield();
	CHECK(!step_finished(&step));
	CHECK(word_at(INNER) & DAX_LOCKED);
	unlock();
	step_join(&step);
	EQ(ret, 0);
	EQ(entries(), 0);
	tear_down();
}

/* ---- the wrong thread, no thread, another process ------------------------------------------- */

static void unlock_here(void *arg)
{
	*(int *)arg = dax_unlock_mapping_entry(cookie);
}

static void unlocked_by_another(void)
{
	struct step step;
	int ret = 0;

	set_up();
	EQ(lock(INNER, 0), 0);
	step_start(&step, unlock_here, &ret, STEP_NOWHERE);
	step_join(&step);
	EQ(ret, -EPERM);
	CHECK(word_at(INNER) & DAX_LOCKED);
	unlock();
	tear_down();
}

static void lock_here(void *arg)
{
	*(int *)arg = lock(INNER, 0);
}

static void fault_zero(void *arg)
{
	*(int *)arg = dax_vma_fault(shared, 0, 0, NULL);
}

/* The holder's thread ends: others go on, none of them inherits its area, and
 * who drops the cookie makes an end of it. */
static void holder_ends(void)
{
	struct step step, later;
	int ret = 1, fault = 0, size = 1;

	set_up();
	step_start(&step, lock_here, &ret, STEP_NOWHERE);
	step_join(&step);
	EQ(ret, 0);
	CHECK(!cookie->slot.area->owner);
	EQ(dax_unlock_mapping_entry(cookie), -EPERM);
	step_start(&step, fault_zero, &fault, STEP_NOWHERE);
	step_join(&step);
	CHECK(fault & DAX_VM_FAULT_NOPAGE);	/* not -EDEADLK */
	step_start(&later, cut, &size, STEP_NOWHERE);
	while (READ_ONCE(fx.file->invalidate_lock.state) == PERCPU_RWSEM_READERS)
		sched_yield();
	EQ(dax_drop_mapping_entry(cookie), 0);
	step_join(&later);
	EQ(size, 0);
	/* Now the area is anybody's. */
	step_start(&step, lock_here, &ret, STEP_NOWHERE);
	step_join(&step);
	EQ(ret, -EINVAL);
	tear_down();
}

static void dropped_by_another(void)
{
	char byte;

	set_up();
	EQ(lock(INNER, 0), 0);
	EQ(dax_drop_mapping_entry(cookie), 0);
	EQ(dax_vma_read(shared, &byte, 1, 0, NULL), 1);
	tear_down();
}

/* In a child the cookie is left alone. */
static void forked(void)
{
	int status = 1;
	pid_t child;

	set_up();
	EQ(lock(INNER, 0), 0);
	child = fork();
	MUST(child >= 0);
	if (!child)
		_exit(dax_unlock_mapping_entry(cookie) != -ESTALE ||
		      dax_drop_mapping_entry(cookie) != -ESTALE);
	EQ(waitpid(child, &status, 0), child);
	EQ(status, 0);
	CHECK(word_at(INNER) & DAX_LOCKED);
	unlock();
	tear_down();
}

#define RUN(test) run(#test, test)

/* A touch would wait for who holds the lock, and that may be the toucher. */
static void a_real_mapping(void)
{
	struct dax_vma_attr attr = {
		.struct_size = sizeof(attr), .flags = RW_SHARED, .length = BYTES,
		.backend = DAX_BACKEND_REAL,
	};
	struct dax_vma *real;

	set_up();
	if (dax_vma_new(&real, fx.file, &attr)) {
		printf("# needs uffd: a kernel and a container that allow it\n");
		tear_down();
		return;
	}
	EQ(lock(INNER, 0), -EBUSY);
	CHECK(!cookie);
	EQ(*(volatile char *)dax_vma_address(real), 0);
	dax_vma_put(real);
	EQ(lock(INNER, 0), 0);
	unlock();
	tear_down();
}

int main(void)
{
	plan(19);
	RUN(an_absent_page);
	RUN(an_absent_pmd);
	RUN(a_zero_page);
	RUN(a_pmd_with_storage);
	RUN(a_pmd_without);
	RUN(a_cached_page);
	RUN(refused);
	RUN(no_memory);
	RUN(other_calls_of_the_thread);
	RUN(unmap_meanwhile);
	RUN(close_meanwhile);
	RUN(a_fault_waits);
	RUN(other_pages_do_not);
	RUN(a_truncate_waits);
	RUN(unlocked_by_another);
	RUN(holder_ends);
	RUN(dropped_by_another);
	RUN(forked);
	RUN(a_real_mapping);
	return done();
}
