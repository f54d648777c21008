/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_collect.c -- entries that have outlived their use
 *
 * EMPTY ones that faults left are collected in exclusive sections; 4 KiB zero
 * entries make room when their 2 MiB are asked for at once.
 */
#include "collect.h"
#include "invariants.h"
#include "oom.h"
#include "stats.h"
#include "step.h"
#include "white_box.h"

enum {
	FILE_PAGES = 4 * PMD_PAGES,
	BYTES = FILE_PAGES * DAX_PAGE_SIZE,
	BASE = PMD_PAGES,
	INNER = PMD_PAGES + 188,
	NOPAGE = DAX_VM_FAULT_NOPAGE
};

static struct dax_vma *small, *wide, *private;
static struct step step;

static void open_policy(unsigned int policy)
{
	fx_file(BYTES, policy, NULL);
	small = fx_vma(0, FILE_PAGES, RW_SHARED, DAX_PAGES_PTE);
	wide = fx_vma(0, FILE_PAGES, RW_SHARED, DAX_PAGES_AUTO);
	private = fx_vma(0, FILE_PAGES, RW_PRIVATE, DAX_PAGES_PTE);
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
	dax_vma_put(wide);
	dax_vma_put(small);
	fx_close();
}

static void copy_pages(dax_pgoff_t first, dax_pgoff_t nr)
{
	EQ(dax_vma_fault_range(private, first, nr, 1, NULL, 0, NULL), nr);
}

static void load_pages(dax_pgoff_t first, dax_pgoff_t nr)
{
	EQ(dax_vma_fault_range(small, first, nr, 0, NULL, 0, NULL), nr);
}

/* ---- EMPTY entries ---------------------------------------------------------------------- */

static void collect_on_request(void)
{
	uint64_t bytes;

	set_up();
	copy_pages(0, 3);
	load_pages(5, 2);
	EQ(entries(), 5);
	EQ(count(DAX_STAT_EMPTY_LEFT), 3);
	bytes = radix_tree_bytes(&fx.file->i_pages);
	EQ(dax_mapping_collect(fx.file), 3);
	EQ(entries(), 2);
	EQ(count(DAX_STAT_EMPTY_COLLECTED), 3);
	EQ(dax_mapping_collect(fx.file), 0);
	CHECK(word_at(5) == word(0, DAX_ZERO_PAGE));
	CHECK(radix_tree_bytes(&fx.file->i_pages) <= bytes);
	check_tree_exact(&fx.file->i_pages);
	/* The copies are the mapping's. */
	EQ(fx.file->cow_bytes, 3 * DAX_PAGE_SIZE);
	tear_down();
}

static void empty_nodes_go(void)
{
	set_up();
	copy_pages(0, 1);
	CHECK(fx.file->i_pages.nr_nodes > 0);
	EQ(dax_mapping_collect(fx.file), 1);
	EQ(fx.file->i_pages.nr_nodes, 0);
	tear_down();
}

static void failed_faults_are_counted(void)
{
	struct dax_vma *vma, *pmd;

	fx_open(FILE_PAGES);
	vma = fx_vma(0, FILE_PAGES, RW_SHARED, DAX_PAGES_PTE);
	pmd = fx_vma(0, FILE_PAGES, RW_SHARED, DAX_PAGES_PMD);
	fx.map.error = -ENOSPC;
	EQ(dax_vma_fault(vma, 0, 1, NULL), DAX_VM_FAULT_SIGBUS);
	EQ(count(DAX_STAT_EMPTY_LEFT), 1);
	fx.map.error = 0;
	EQ(dax_vma_fault(vma, 1, 1, NULL), DAX_VM_FAULT_SIGBUS);	/* still a hole */
	EQ(count(DAX_STAT_EMPTY_LEFT), 2);
	EQ(dax_vma_fault(pmd, BASE, 1, NULL), DAX_VM_FAULT_FALLBACK);
	EQ(count(DAX_STAT_EMPTY_LEFT), 3);
	EQ(entries(), 3);
	/* One that is used is none. */
	EQ(dax_vma_fault(vma, 0, 0, NULL), NOPAGE);
	EQ(count(DAX_STAT_EMPTY_LEFT), 3);
	EQ(dax_mapping_collect(fx.file), 2);
	EQ(entries(), 1);
	dax_vma_put(pmd);
	dax_vma_put(vma);
	fx_close();
}

static int by_mmap(void)
{
	dax_vma_put(fx_vma(0, 1, DAX_VM_READ, DAX_PAGES_PTE));
	return 0;
}

static int by_truncate(void)
{
	return dax_mapping_truncate(fx.file, BYTES - 1);
}

static int by_punch(void)
{
	return dax_mapping_punch_hole(fx.file, BYTES - DAX_PAGE_SIZE, DAX_PAGE_SIZE);
}

static int by_fallocate(void)
{
	return dax_mapping_fallocate(fx.file, BYTES - DAX_PAGE_SIZE, DAX_PAGE_SIZE);
}

static int (*const sections[])(void) = {
	by_mmap, by_truncate, by_punch, by_fallocate,
};

/* 512 are left alone, one more and all go. */
static void collect_amortised(void)
{
	for (unsigned int i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
		set_up();
		copy_pages(0, 512);
		EQ(sections[i](), 0);
		EQ(count(DAX_STAT_EMPTY_COLLECTED), 0);
		copy_pages(512, 1);
		EQ(sections[i](), 0);
		EQ(count(DAX_STAT_EMPTY_COLLECTED), 513);
		EQ(entries(), 0);
		/* Counted from there. */
		copy_pages(1024, 1);
		EQ(sections[i](), 0);
		EQ(entries(), 1);
		tear_down();
	}
}

/* Beside many entries that are in use a few hundred are no matter. */
static void not_worth_it(void)
{
	enum { PAGES = 16 * PMD_PAGES };
	struct dax_vma *load, *copy;

	fx_open_real(PAGES);
	load = fx_vma(0, PAGES, RW_SHARED, DAX_PAGES_PTE);
	copy = fx_vma(0, PAGES, RW_PRIVATE, DAX_PAGES_PTE);
	EQ(dax_vma_fault_range(load, 1000, PAGES - 1000, 0, NULL, 0, NULL), PAGES - 1000);
	EQ(dax_vma_fault_range(copy, 0, 600, 1, NULL, 0, NULL), 600);
	EQ(by_mmap(), 0);
	EQ(count(DAX_STAT_EMPTY_COLLECTED), 0);
	EQ(dax_mapping_collect(fx.file), 600);
	dax_vma_put(copy);
	dax_vma_put(load);
	fx_close();
}

/* ---- promotion ------------------------------------------------------------------------------ */

/* A load of 2 MiB through a vma that has no table there: promoted or not. */
static void check_load(bool promoted)
{
	struct dax_fault_info info;
	uint64_t before = count(DAX_STAT_PROMOTION);

	EQ(dax_vma_fault(wide, INNER, 0, &info), NOPAGE);
	EQ(count(DAX_STAT_PROMOTION) - before, promoted);
	if (promoted) {
		EQ(word_at(INNER), word(0, DAX_PMD | DAX_ZERO_PAGE));
		EQ(vma_soft_leaf(wide, INNER) >> DAX_PAGE_SHIFT, DAX_HUGE_ZERO_PFN);
	} else {
		EQ(info.reason, DAX_FALLBACK_ENTRY_EXISTS);
		CHECK(!(vma_soft_leaf(wide, INNER) & LEAF_HUGE));
	}
	check_invariants(fx.file);
}

static void all_zero(void)
{
	uint64_t bytes;

	set_up();
	load_pages(BASE, PMD_PAGES);
	copy_pages(INNER, 1);	/* stays */
	bytes = radix_tree_bytes(&fx.file->i_pages);
	check_load(true);
	EQ(entries(), 1);
	CHECK(radix_tree_bytes(&fx.file->i_pages) < bytes);
	EQ(vma_soft_leaf(small, INNER), 0);
	CHECK(vma_soft_leaf(private, INNER) & LEAF_ANON);
	EQ(count(DAX_STAT_PMD_FAULT), 2);
	/* Another 4 KiB load turns it back; data comes as ever. */
	EQ(load_page(small, INNER), 0);
	EQ(count(DAX_STAT_DOWNGRADE), 1);
	tear_down();
}

static void only_empty(void)
{
	set_up();
	copy_pages(INNER, 3);
	check_load(true);
	EQ(count(DAX_STAT_EMPTY_COLLECTED), 3);
	tear_down();
}

static void an_empty_node(void)
{
	struct radix_tree_iter iter;

	set_up();
	load_pages(INNER, 1);
	iter = place(INNER);
	smp_store_release(iter.slot, NULL);
	percpu_inc(this_percpu(&fx.file->percpu), DAX_STAT_ENTRY_DELETE);
	EQ(dax_vma_dontneed(small, 0, BYTES), 0);
	check_load(true);
	tear_down();
}

static void one_missing(void)
{
	set_up();
	load_pages(BASE, PMD_PAGES - 1);
	check_load(false);
	tear_down();
}

static void the_first_missing(void)
{
	set_up();
	load_pages(BASE + 1, PMD_PAGES - 1);
	check_load(false);
	tear_down();
}

static void one_is_empty(void)
{
	set_up();
	load_pages(BASE, PMD_PAGES - 1);
	copy_pages(BASE + PMD_PAGES - 1, 1);
	check_load(false);
	EQ(count(DAX_STAT_EMPTY_COLLECTED), 0);
	tear_down();
}

static void one_has_a_block(void)
{
	set_up();
	load_pages(BASE, PMD_PAGES);
	EQ(dax_vma_write(small, "x", 1, (uint64_t)INNER << DAX_PAGE_SHIFT, NULL), 1);
	check_load(false);
	EQ(load_page(wide, INNER), 'x');
	tear_down();
}

static void a_store_does_not(void)
{
	set_up();
	load_pages(BASE, PMD_PAGES);
	EQ(dax_vma_write(wide, "x", 1, (uint64_t)INNER << DAX_PAGE_SHIFT, NULL), 1);
	EQ(count(DAX_STAT_PROMOTION), 0);
	tear_down();
}

static void no_huge_zero_page(void)
{
	set_up();
	load_pages(BASE, PMD_PAGES);
	dax_test.no_huge_zero = true;
	check_load(false);
	tear_down();
}

/* A vma that shows the range by 4 KiB keeps to that. */
static void a_table_is_there(void)
{
	set_up();
	load_pages(BASE, 1);
	check_load(false);
	EQ(wide->vm_ops->pmd_state(wide, BASE), VMA_PMD_TABLE);
	EQ(dax_vma_fault_range(small, BASE, PMD_PAGES, 0, NULL, 0, NULL), PMD_PAGES - 1);
	EQ(load_page(wide, BASE + 1), 0);
	EQ(count(DAX_STAT_PROMOTION), 0);
	EQ(entries(), PMD_PAGES);
	tear_down();
}

static void page_cache_never(void)
{
	open_policy(DAX_POLICY_PAGE_CACHE);
	copy_pages(INNER, 1);
	check_load(false);
	tear_down();
}

static void no_memory(void)
{
	OOM_LOOP(n) {
		int ret;

		set_up();
		load_pages(BASE, PMD_PAGES);
		oom_fail_nth(n);
		ret = dax_vma_fault(wide, INNER, 0, NULL);
		oom_clear();
		CHECK(ret == NOPAGE || ret == DAX_VM_FAULT_OOM);
		check_invariants(fx.file);
		EQ(load_page(wide, INNER), 0);
		tear_down();
		if (!oom_fired())
			break;
	}
	CHECK(oom_rounds() > 0);
}

/* ---- what happens meanwhile ---------------------------------------------------------------------- */

static void drop_without_memory(void *vma)
{
	oom_fail_from(1);
	dax_vma_put(vma);
	oom_clear();
	CHECK(oom_fired());
}

/* Somebody who never used the file drops a vma of it, and there is no memory for
 * counters of its own: what was to be collected is left to another. */
static void no_memory_for_counters(void)
{
	struct dax_vma *vma;

	set_up();
	vma = fx_vma(0, FILE_PAGES, RW_SHARED, DAX_PAGES_PTE);
	copy_pages(0, 600);
	step_start(&step, drop_without_memory, vma, STEP_NOWHERE);
	step_join(&step);
	EQ(count(DAX_STAT_EMPTY_COLLECTED), 0);
	EQ(dax_mapping_collect(fx.file), 600);
	tear_down();
}

static int result;

static void load_wide(void *arg)
{
	(void)arg;
	result = dax_vma_fault(wide, INNER, 0, NULL);
}


static void park_before_promotion(void)
{
	set_up();
	load_pages(BASE, PMD_PAGES);
	step_start(&step, load_wide, NULL, DAX_TEST_PROMOTE);
	MUST(step_parked(&step));
}

static void go_on(void)
{
	step_go(&step, STEP_NOWHERE);
	step_join(&step);
}

static void stored_to_meanwhile(void)
{
	park_before_promotion();
	EQ(dax_vma_write(small, "x", 1, (uint64_t)INNER << DAX_PAGE_SHIFT, NULL), 1);
	go_on();
	EQ(result, NOPAGE);
	EQ(count(DAX_STAT_PROMOTION), 0);
	EQ(load_page(wide, INNER), 'x');
	tear_down();
}

static void written_to_meanwhile(void)
{
	park_before_promotion();
	EQ(dax_mapping_pwrite(fx.file, "x", 1, (dax_loff_t)INNER << DAX_PAGE_SHIFT), 1);
	go_on();
	EQ(load_page(wide, INNER), 'x');
	tear_down();
}

static void truncated_meanwhile(void)
{
	park_before_promotion();
	EQ(dax_mapping_truncate(fx.file, 0), 0);
	go_on();
	EQ(result, DAX_VM_FAULT_SIGBUS);
	EQ(entries(), 0);
	tear_down();
}

static void promoted_meanwhile(void)
{
	park_before_promotion();
	EQ(promote(fx.file, BASE), 0);
	EQ(dax_vma_fault(small, INNER, 0, NULL), NOPAGE);	/* one entry again */
	go_on();
	EQ(result, NOPAGE);
	EQ(count(DAX_STAT_PROMOTION), 1);
	EQ(word_at(INNER), word(0, DAX_ZERO_PAGE));
	tear_down();
}

/* Made again and again by others: one fault promotes once. */
static void only_once(void)
{
	park_before_promotion();
	step_go(&step, DAX_TEST_RWSEM_READ);
	MUST(step_parked(&step));	/* promoted, about to repeat the fault */
	EQ(entries(), 0);
	load_pages(BASE, PMD_PAGES);
	go_on();
	EQ(result, NOPAGE);
	EQ(count(DAX_STAT_PROMOTION), 1);
	EQ(word_at(INNER), word(0, DAX_ZERO_PAGE));
	tear_down();
}

/* Two faults at once: one promotes, both have their leaf. */
static void twins(void)
{
	park_before_promotion();
	EQ(load_page(wide, INNER), 0);
	go_on();
	EQ(result, NOPAGE);
	EQ(count(DAX_STAT_PROMOTION), 1);
	EQ(word_at(INNER), word(0, DAX_PMD | DAX_ZERO_PAGE));
	tear_down();
}

#define RUN(test) run(#test, test)

int main(void)
{
	plan(24);
	RUN(collect_on_request);
	RUN(empty_nodes_go);
	RUN(failed_faults_are_counted);
	RUN(collect_amortised);
	RUN(not_worth_it);
	RUN(all_zero);
	RUN(only_empty);
	RUN(an_empty_node);
	RUN(one_missing);
	RUN(the_first_missing);
	RUN(one_is_empty);
	RUN(one_has_a_block);
	RUN(a_store_does_not);
	RUN(no_huge_zero_page);
	RUN(a_table_is_there);
	RUN(page_cache_never);
	RUN(no_memory);
	RUN(no_memory_for_counters);
	RUN(stored_to_meanwhile);
	RUN(written_to_meanwhile);
	RUN(truncated_meanwhile);
	RUN(promoted_meanwhile);
	RUN(only_once);
	RUN(twins);
	return done();
}
