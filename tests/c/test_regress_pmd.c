/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_regress_pmd.c -- 2 MiB and 4 KiB faults in one another's way
 *
 * Faults the kernel had here:
 *
 *   small_zero_pages_under_a_huge_block   4 KiB zero pages were not removed
 *					before a 2 MiB block was mapped
 *   collision_on_a_private_mapping	a 2 MiB read and a 4 KiB copy met in
 *					one page-table slot
 *   shifted_mapping			a mapping whose address and offset
 *					differ mod 2 MiB: the tree's range was
 *					not the page table's
 *   zero_length_file			(size - 1) of no page at all underflowed
 *   huge_request_waits_for_a_small_one	and slept under a key nobody woke
 *   huge_request_saw_64_pages_only	a lone 4 KiB entry further back was
 *					overwritten
 *   unlock_by_an_inner_page		stored the word for that page
 */
#include "invariants.h"
#include "step.h"
#include "white_box.h"

enum { PAGES = 4 * PMD_PAGES, BASE = PMD_PAGES, FALLBACK = DAX_VM_FAULT_FALLBACK };

static struct dax_vma *small, *huge, *private;

static void make_vmas(void)
{
	small = fx_vma(0, PAGES, RW_SHARED, DAX_PAGES_PTE);
	huge = fx_vma(0, PAGES, RW_SHARED, DAX_PAGES_AUTO);
	private = fx_vma(0, PAGES, RW_PRIVATE, DAX_PAGES_AUTO);
	dax_test = (struct dax_test_hooks){ .yield = step_yield, .no_spin = true };
}

static void set_up(void)
{
	fx_open_real(PAGES);
	make_vmas();
}

static void tear_down(void)
{
	dax_test = (struct dax_test_hooks){ 0 };
	check_invariants(fx.file);
	dax_vma_put(private);
	dax_vma_put(huge);
	dax_vma_put(small);
	fx_close();
}

/* A fault in a thread of its own. */
struct faulter {
	struct step step;
	struct dax_vma *vma;
	dax_pgoff_t page;
	int write;
	int ret;
	struct dax_fault_info info;
};

static void fault_body(void *arg)
{
	struct faulter *f = arg;

	f->ret = dax_vma_fault(f->vma, f->page, f->write, &f->info);
}

/* ---- zero pages under a block -------------------------------------------------------------- */

/* Here 4 KiB entries win: the 2 MiB write falls back, and takes away the zero
 * page of the page it writes to, nothing else. */
static void small_zero_pages_under_a_huge_block(void)
{
	struct dax_fault_info info;

	set_up();
	EQ(load_page(small, BASE + 1), 0);
	EQ(load_page(small, BASE + 2), 0);
	EQ(dax_vma_fault(huge, BASE + 1, 1, &info),
	   DAX_VM_FAULT_NOPAGE | DAX_VM_FAULT_MAJOR);
	EQ(info.reason, DAX_FALLBACK_ENTRY_EXISTS);
	store_page(huge, BASE + 1, 'h');
	EQ(load_page(small, BASE + 1), 'h');
	EQ(load_page(small, BASE + 2), 0);
	store_page(huge, BASE + 2, 'i');
	EQ(load_page(small, BASE + 2), 'i');
	tear_down();
}

/* When they are gone, and the node with them, 2 MiB can be had; no zero page
 * of before shows through. */
static void huge_block_after_the_holes_went(void)
{
	set_up();
	EQ(load_page(small, BASE + 1), 0);
	EQ(dax_mapping_punch_hole(fx.file, DAX_PMD_SIZE, DAX_PMD_SIZE), 0);
	store_page(huge, BASE + 1, 'h');
	EQ(place(BASE + 1).order, DAX_PMD_ORDER);
	EQ(load_page(small, BASE + 1), 'h');
	tear_down();
}

/* ---- collision ---------------------------------------------------------------------------------- */

/* A reads by 2 MiB and stands at @point, B copies a page of the same 2 MiB of
 * the same mapping: its table comes first, its entry has to wait. */
static void collide(int point)
{
	struct faulter a = { .page = BASE + 1 }, b = { .page = BASE + 2, .write = 1 };

	set_up();
	a.vma = b.vma = private;
	step_start(&a.step, fault_body, &a, point);
	CHECK(step_parked(&a.step));
	step_start_asleep(&b.step, fault_body, &b, STEP_NOWHERE);
	EQ(private->vm_ops->pmd_state(private, BASE), VMA_PMD_TABLE);
	step_go(&a.step, STEP_NOWHERE);
	step_join(&a.step);
	step_join(&b.step);
	EQ(a.ret, DAX_VM_FAULT_NOPAGE);
	EQ(a.info.reason, DAX_FALLBACK_PMD_OCCUPIED);
	EQ(b.ret, DAX_VM_FAULT_DONE_COW);
	EQ(load_page(private, BASE + 1), 0);
	CHECK(vma_soft_leaf(private, BASE + 2) & LEAF_ANON);
	tear_down();
}

static void collision_on_a_private_mapping(void)
{
	collide(DAX_TEST_AFTER_GRAB);
	collide(DAX_TEST_AFTER_IOMAP);
}

/* The other way round: the copy holds its 4 KiB entry, the 2 MiB read does not
 * wait for it. */
static void collision_after_the_copy(void)
{
	struct faulter b = { .page = BASE + 2, .write = 1 };
	struct dax_fault_info info;

	set_up();
	b.vma = private;
	step_start(&b.step, fault_body, &b, DAX_TEST_AFTER_IOMAP);
	CHECK(step_parked(&b.step));
	EQ(dax_vma_fault(huge, BASE + 1, 0, &info), DAX_VM_FAULT_NOPAGE);
	EQ(info.reason, DAX_FALLBACK_ENTRY_EXISTS);
	EQ(load_page(private, BASE + 1), 0);
	step_go(&b.step, STEP_NOWHERE);
	step_join(&b.step);
	EQ(b.ret, DAX_VM_FAULT_DONE_COW);
	tear_down();
}

enum { RACES = 20000 };

/* As t_mmap_cow_race does: read, copy and drop, two threads, one 2 MiB; each
 * has pages of its own to know what they hold. */
struct racer {
	pthread_t thread;
	unsigned int nr, seed, wrong;
};

static void race_once(struct racer *r, char *copies)
{
	unsigned int i = r->seed >> 16 & 7;
	dax_pgoff_t page = BASE + 2 * i + r->nr;
	char byte = (char)(1 + i);

	switch (r->seed >> 20 & 3) {
	case 0:
		copies[i] = 0;
		r->wrong += dax_vma_dontneed(private, page << DAX_PAGE_SHIFT,
					     DAX_PAGE_SIZE) != 0;
		break;
	case 1:
		copies[i] = byte;
		r->wrong += dax_vma_write(private, &byte, 1, page << DAX_PAGE_SHIFT,
					  NULL) != 1;
		break;
	default:
		r->wrong += dax_vma_read(private, &byte, 1, page << DAX_PAGE_SHIFT,
					 NULL) != 1 || byte != copies[i];
		break;
	}
}

static void *racer_main(void *arg)
{
	struct racer *r = arg;
	char copies[8] = { 0 };

	for (int i = 0; i < RACES; i++) {
		r->seed = r->seed * 1103515245 + 12345;
		race_once(r, copies);
	}
	return NULL;
}

static void race_on_a_private_mapping(void)
{
	struct racer r[2] = { { .nr = 0, .seed = 5 }, { .nr = 1, .seed = 6 } };

	set_up();
	dax_test.yield = NULL;
	for (int i = 0; i < 2; i++)
		MUST(!pthread_create(&r[i].thread, NULL, racer_main, &r[i]));
	for (int i = 0; i < 2; i++) {
		pthread_join(r[i].thread, NULL);
		EQ(r[i].wrong, 0);
	}
	EQ(dax_vma_dontneed(private, 0, (uint64_t)PAGES << DAX_PAGE_SHIFT), 0);
	EQ(fx.file->cow_bytes, 0);
	tear_down();
}

/* ---- a shifted mapping ------------------------------------------------------------------------------ */

static void shifted_mapping(void)
{
	struct faulter a = { .page = BASE, .write = 1 };
	struct dax_vma *shifted;
	struct dax_fault_info info;

	set_up();
	shifted = fx_vma_at((UINT64_C(1) << 30) + 3 * DAX_PAGE_SIZE, 0, PAGES, RW_SHARED,
			    DAX_PAGES_AUTO);
	a.vma = shifted;
	step_start(&a.step, fault_body, &a, DAX_TEST_AFTER_IOMAP);
	CHECK(step_parked(&a.step));
	EQ(a.info.reason, 0);
	/* Neighbours by 2 MiB, before, around and behind: nobody waits. */
	EQ(dax_vma_fault(huge, BASE - 1, 0, &info), DAX_VM_FAULT_NOPAGE);
	EQ(info.reason, 0);
	EQ(dax_vma_fault(huge, BASE + 1, 0, &info), DAX_VM_FAULT_NOPAGE);
	EQ(info.reason, DAX_FALLBACK_ENTRY_EXISTS);
	EQ(dax_vma_fault(huge, BASE + PMD_PAGES, 0, &info), DAX_VM_FAULT_NOPAGE);
	EQ(info.reason, 0);
	EQ(dax_vma_fault(shifted, BASE + 2, 0, &info), DAX_VM_FAULT_NOPAGE);
	EQ(count(DAX_STAT_ENTRY_WAIT), 0);
	step_go(&a.step, STEP_NOWHERE);
	step_join(&a.step);
	EQ(a.info.reason, DAX_FALLBACK_COLOUR);
	EQ(place(BASE).order, 0);
	dax_vma_put(shifted);
	tear_down();
}

/* A 2 MiB entry seen through it, across its own table's border. */
static void shifted_mapping_over_a_huge_entry(void)
{
	struct dax_vma *shifted;

	set_up();
	store_page(huge, BASE + 508, 'a');
	store_page(huge, BASE + 509, 'b');
	shifted = fx_vma_at((UINT64_C(1) << 30) + 3 * DAX_PAGE_SIZE, 0, PAGES, RW_SHARED,
			    DAX_PAGES_AUTO);
	EQ(load_page(shifted, BASE + 508), 'a');	/* last page of a table */
	EQ(load_page(shifted, BASE + 509), 'b');	/* first of the next */
	EQ(place(BASE).order, DAX_PMD_ORDER);
	EQ(dax_mapping_punch_hole(fx.file, DAX_PMD_SIZE, DAX_PMD_SIZE), 0);
	EQ(load_page(shifted, BASE + 508), 0);
	EQ(load_page(shifted, BASE + 509), 0);
	dax_vma_put(shifted);
	tear_down();
}

/* ---- a file of no length -------------------------------------------------------------------------------- */

static void zero_length_file(void)
{
	struct dax_fault_info info;
	char byte;

	fx_open_real(0);
	make_vmas();
	EQ(dax_vma_fault(huge, 0, 0, &info), DAX_VM_FAULT_SIGBUS);
	EQ(info.error, -EFAULT);
	EQ(dax_vma_fault(huge, PAGES - 1, 1, NULL), DAX_VM_FAULT_SIGBUS);
	EQ(dax_vma_fault(private, 0, 1, NULL), DAX_VM_FAULT_SIGBUS);
	EQ(dax_vma_read(small, &byte, 1, 0, NULL), -EFAULT);
	EQ(radix_tree_bytes(&fx.file->i_pages), 0);
	tear_down();
}

/* Emptied while mapped, and while it had huge entries. */
static void truncated_to_nothing(void)
{
	set_up();
	EQ(load_page(huge, BASE), 0);
	store_page(huge, 0, 'h');
	store_page(private, 1, 'p');
	EQ(dax_mapping_truncate(fx.file, 0), 0);
	EQ(dax_vma_fault(huge, BASE, 0, NULL), DAX_VM_FAULT_SIGBUS);
	EQ(dax_vma_fault(huge, 0, 1, NULL), DAX_VM_FAULT_SIGBUS);
	EQ(entries(), 0);
	EQ(fx.file->cow_bytes, 0);
	EQ(dax_mapping_truncate(fx.file, PAGES << DAX_PAGE_SHIFT), 0);
	EQ(load_page(huge, 0), 0);
	EQ(load_page(private, 1), 0);
	tear_down();
}

/* ---- who waits for whom -------------------------------------------------------------------------------------- */

static void check_does_not_wait(dax_pgoff_t held)
{
	struct faulter a = { .page = held };
	struct dax_fault_info info;

	set_up();
	a.vma = small;
	step_start(&a.step, fault_body, &a, DAX_TEST_AFTER_GRAB);
	CHECK(step_parked(&a.step));
	EQ(dax_vma_fault(huge, BASE + 7, 1, &info),
	   DAX_VM_FAULT_NOPAGE | DAX_VM_FAULT_MAJOR);
	EQ(info.reason, DAX_FALLBACK_ENTRY_EXISTS);
	EQ(count(DAX_STAT_ENTRY_WAIT), 0);
	step_go(&a.step, STEP_NOWHERE);
	step_join(&a.step);
	tear_down();
}

static void huge_request_waits_for_a_small_one(void)
{
	check_does_not_wait(BASE);		/* at its very first page */
	check_does_not_wait(BASE + 1);
	check_does_not_wait(BASE + 511);
}

/* It does wait for a 2 MiB entry, and is woken though that is gone by then. */
static void huge_request_waits_for_a_downgrade(void)
{
	struct faulter a = { .page = BASE + 9 }, b = { .page = BASE };

	set_up();
	a.vma = small;
	b.vma = private;
	EQ(load_page(huge, BASE), 0);
	step_start(&a.step, fault_body, &a, DAX_TEST_DOWNGRADE);
	CHECK(step_parked(&a.step));
	step_start_asleep(&b.step, fault_body, &b, STEP_NOWHERE);
	step_go(&a.step, STEP_NOWHERE);
	step_join(&a.step);
	step_join(&b.step);
	EQ(b.ret, DAX_VM_FAULT_NOPAGE);
	EQ(b.info.reason, DAX_FALLBACK_ENTRY_EXISTS);
	EQ(word_at(BASE), 0x12);
	EQ(word_at(BASE + 9), 0x12);
	tear_down();
}

static void huge_request_saw_64_pages_only(void)
{
	struct dax_fault_info info;

	for (dax_pgoff_t i = 0; i < PMD_PAGES; i++) {
		fx_open_real(2 * PMD_PAGES);
		huge = fx_vma(0, 2 * PMD_PAGES, RW_SHARED, DAX_PAGES_PMD);
		plant(BASE + i, 0, DAX_ZERO_PAGE);
		EQ(dax_vma_fault(huge, BASE, 0, &info), FALLBACK);
		EQ(info.reason, DAX_FALLBACK_ENTRY_EXISTS);
		EQ(word_at(BASE + i), 0x12);
		EQ(entries(), 1);
		dax_vma_put(huge);
		fx_close();
	}
}

static void unlock_by_an_inner_page(void)
{
	dax_entry_t before;

	set_up();
	store_page(huge, BASE, 'h');
	before = word_at(BASE);
	for (dax_pgoff_t i = 0; i < PMD_PAGES; i += 73) {
		EQ(dax_vma_fault(small, BASE + i, 0, NULL), DAX_VM_FAULT_NOPAGE);
		EQ(word_at(BASE), before);
		EQ(word_at(BASE + i), before);
	}
	EQ(load_page(small, BASE), 'h');
	tear_down();
}

#define RUN(test) run(#test, test)

int main(void)
{
	plan(13);
	RUN(small_zero_pages_under_a_huge_block);
	RUN(huge_block_after_the_holes_went);
	RUN(collision_on_a_private_mapping);
	RUN(collision_after_the_copy);
	RUN(race_on_a_private_mapping);
	RUN(shifted_mapping);
	RUN(shifted_mapping_over_a_huge_entry);
	RUN(zero_length_file);
	RUN(truncated_to_nothing);
	RUN(huge_request_waits_for_a_small_one);
	RUN(huge_request_waits_for_a_downgrade);
	RUN(huge_request_saw_64_pages_only);
	RUN(unlock_by_an_inner_page);
	return done();
}
