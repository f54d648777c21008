/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_vma_real.c -- what stands behind the leaves of a real mapping
 *
 * First the calls of dax_vm_ops, one by one: after each, what the kernel says of
 * the memory is held against the leaf.  Then stores that come at the wrong moment,
 * accesses that cannot be served, memory that runs out, a fork in the middle.
 * All of it with both deliveries, and with what newer kernels have switched off.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "ahead.h"
#include "collect.h"
#include "frames.h"
#include "invariants.h"
#include "oom.h"
#include "step.h"
#include "vm_area.h"
#include "vma_real.h"
#include "white_box.h"

enum { PAGES = 4 * PMD_PAGES, BASE = PMD_PAGES, PAGE = PMD_PAGES + 3 };

static unsigned int delivery;
static struct dax_vma *vma;
static struct dax_vm_fault vmf;
static char *mem;	/* its first byte */

/* ---- loads and stores of the CPU ---------------------------------------------------- */

static __thread sigjmp_buf out;
static volatile sig_atomic_t nr_bus;

static void on_sigbus(int sig)
{
	(void)sig;
	nr_bus++;
	siglongjmp(out, 1);
}

static char *at(dax_pgoff_t page)
{
	return mem + (page << DAX_PAGE_SHIFT);
}

/* The page's first byte; -1: SIGBUS. */
static int raw_load(dax_pgoff_t page)
{
	if (sigsetjmp(out, 1))
		return -1;
	return *(volatile unsigned char *)at(page);
}

static int raw_store(dax_pgoff_t page, int value)
{
	if (sigsetjmp(out, 1))
		return -1;
	*(volatile unsigned char *)at(page) = (unsigned char)value;
	return 0;
}

static int get(dax_pgoff_t page)
{
	unsigned char byte = 0xee;

	EQ(dax_mapping_pread(fx.file, &byte, 1, (dax_loff_t)(page << DAX_PAGE_SHIFT)), 1);
	return byte;
}

static void put(dax_pgoff_t page, int value)
{
	unsigned char byte = (unsigned char)value;

	EQ(dax_mapping_pwrite(fx.file, &byte, 1, (dax_loff_t)(page << DAX_PAGE_SHIFT)), 1);
}

/* ---- what the kernel says ------------------------------------------------------------- */

enum { PM_EXCLUSIVE = 56, PM_PROTECTED = 57, PM_PRESENT = 63 };

static uint64_t page_map(dax_pgoff_t page)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	uint64_t word = 0;

	MUST(fd >= 0);
	MUST(pread(fd, &word, sizeof(word),
		   (off_t)((uintptr_t)at(page) / DAX_PAGE_SIZE * sizeof(word))) ==
	     sizeof(word));
	close(fd);
	return word;
}

static bool is(dax_pgoff_t page, int bit)
{
	return page_map(page) >> bit & 1;
}

/* 'a': anonymous, 'r' and 'w': a piece of the file, 'x': nobody may touch it. */
static char kind(dax_pgoff_t page)
{
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned long from, to, where = (unsigned long)at(page);
	char line[512], prot[8], found = '?';

	MUST(f);
	while (found == '?' && fgets(line, sizeof(line), f)) {
		MUST(sscanf(line, "%lx-%lx %7s", &from, &to, prot) == 3);
		if (where < from || where >= to)
			continue;
		found = prot[0] != 'r' ? 'x' : !strchr(line, '/') ? 'a' : prot[1];
		found = found == '-' ? 'r' : found;
	}
	fclose(f);
	return found;
}

/* The kernel's zero page, and a store is told of. */
static bool shows_zero(dax_pgoff_t page)
{
	return kind(page) == 'a' && is(page, PM_PRESENT) && !is(page, PM_EXCLUSIVE) &&
	       is(page, PM_PROTECTED);
}

static bool shows_nothing(dax_pgoff_t page)
{
	return kind(page) == 'a' && !is(page, PM_PRESENT);
}

static bool shows_frame(dax_pgoff_t page, dax_pfn_t pfn, char how)
{
	if (kind(page) != how)
		return false;
	*(char *)pfn_to_kaddr(pfn) = (char)(pfn % 100 + 1);
	return raw_load(page) == (int)(pfn % 100 + 1);
}

/* ---- a mapping -------------------------------------------------------------------------- */

static int new_vma(struct dax_vma **ret_vma, unsigned int flags, unsigned int pages,
		   uint64_t around)
{
	struct dax_vma_attr attr = {
		.struct_size = sizeof(attr), .flags = flags, .pages = pages,
		.length = (uint64_t)PAGES << DAX_PAGE_SHIFT, .backend = DAX_BACKEND_REAL,
		.delivery = delivery, .fault_around = around,
	};

	return dax_vma_new(ret_vma, fx.file, &attr);
}

static void map(unsigned int flags, unsigned int pages, uint64_t around)
{
	MUST(!new_vma(&vma, flags, pages, around));
	mem = dax_vma_address(vma);
	MUST(mem);
}

/* A vma with nothing in it, and a fault at PAGE by hand. */
static void set_up_with(unsigned int flags)
{
	fx_open(PAGES);
	map(flags, DAX_PAGES_AUTO, 0);
	enter();
	vmf = make_vmf(vma, PAGE, true);
}

static void set_up(void)
{
	set_up_with(RW_SHARED);
}

static void unmap(void)
{
	dax_test = (struct dax_test_hooks){ 0 };
	dax_vma_put(vma);
	EQ(fx.file->page_table_bytes, 0);
	EQ(fx.file->cow_bytes, 0);
	fx_close();
}

static void tear_down(void)
{
	leave();
	unmap();
}

/* A file over the built-in block map, for what a program sees. */
static void set_up_file(unsigned int flags, unsigned int pages)
{
	fx_open_real(PAGES);
	map(flags, pages, 0);
}

/* Is it known by page what was stored to? */
static bool is_exact(void)
{
	return strcmp(dax_vma_dirty_tracking(vma), "conservative") != 0;
}

static bool is_async(void)
{
	return !strcmp(dax_vma_dirty_tracking(vma), "wp-async");
}

static uint64_t leaf(dax_pgoff_t pgoff)
{
	return vma_soft_leaf(vma, pgoff);
}

static int insert(dax_pgoff_t page, dax_pfn_t pfn, bool mkwrite)
{
	vmf.pgoff = page;
	vmf.pte = NULL;
	return vma->vm_ops->insert_mixed(&vmf, pfn, mkwrite);
}

static int insert_huge(dax_pfn_t pfn, bool write)
{
	vmf.pgoff = PAGE;
	return vma->vm_ops->insert_pfn_pmd(&vmf, pfn, write);
}

static void zap(dax_pgoff_t first, dax_pgoff_t last, bool even_cows)
{
	vma->vm_ops->zap(vma, first, last, even_cows);
}

static unsigned int count_zero(dax_pgoff_t first, dax_pgoff_t nr)
{
	unsigned int found = 0;

	for (dax_pgoff_t page = first; page < first + nr; page++)
		found += shows_zero(page);
	return found;
}

/* ---- insertion ------------------------------------------------------------------------------ */

static void insert_zero(void)
{
	set_up();
	CHECK(shows_nothing(PAGE));
	EQ(insert(PAGE, DAX_ZERO_PFN, false), 0);
	CHECK(shows_zero(PAGE));
	EQ(raw_load(PAGE), 0);
	CHECK(shows_nothing(PAGE + 1) && shows_nothing(PAGE - 1));
	EQ(insert(PAGE, DAX_ZERO_PFN, false), -EBUSY);
	EQ(insert(PAGE, device_pfn(9), true), -EBUSY);
	CHECK(shows_zero(PAGE));
	zap(PAGE, PAGE, false);
	CHECK(shows_nothing(PAGE) && !leaf(PAGE));
	tear_down();
}

static void insert_frame(void)
{
	set_up();
	EQ(insert(PAGE, device_pfn(9), true), 0);
	CHECK(shows_frame(PAGE, device_pfn(9), 'w'));
	CHECK(leaf(PAGE) & LEAF_WRITE);
	EQ(insert(PAGE + 1, device_pfn(20), false), 0);
	CHECK(shows_frame(PAGE + 1, device_pfn(20), 'w'));
	EQ(!(leaf(PAGE + 1) & LEAF_WRITE), is_exact());	/* or stores would not be known */
	EQ(insert(PAGE, device_pfn(10), true), -EBUSY);
	CHECK(shows_frame(PAGE, device_pfn(9), 'w'));
	CHECK(shows_nothing(PAGE + 2) && shows_nothing(PAGE - 1));
	zap(PAGE, PAGE + 1, false);
	CHECK(shows_nothing(PAGE) && shows_nothing(PAGE + 1));
	tear_down();
}

static void insert_frame_readonly(void)
{
	set_up_with(DAX_VM_READ | DAX_VM_SHARED);
	EQ(insert(PAGE, device_pfn(9), false), 0);
	CHECK(shows_frame(PAGE, device_pfn(9), 'r'));
	CHECK(!(leaf(PAGE) & LEAF_WRITE));
	EQ(insert(PAGE + 1, DAX_ZERO_PFN, false), 0);
	EQ(raw_load(PAGE + 1), 0);
	tear_down();
}

/* Read-only because the file was frozen; then it is stored to. */
static void upgrade(void)
{
	set_up_file(RW_SHARED, DAX_PAGES_PTE);
	put(PAGE, 5);
	EQ(dax_mapping_freeze(fx.file), 0);
	EQ(raw_load(PAGE), 5);
	EQ(kind(PAGE), 'r');
	CHECK(!(leaf(PAGE) & LEAF_WRITE));
	EQ(dax_mapping_thaw(fx.file), 0);
	EQ(raw_store(PAGE, 6), 0);
	EQ(kind(PAGE), 'w');
	CHECK(leaf(PAGE) & LEAF_WRITE);
	EQ(get(PAGE), 6);
	CHECK(is_dirty(PAGE));
	unmap();
}

static void insert_run(void)
{
	set_up();
	vmf.pgoff = PAGE;
	EQ(vma->vm_ops->pte_alloc(&vmf), 0);
	EQ(insert(PAGE + 4, device_pfn(100), true), 0);
	vmf.pgoff = PAGE;
	EQ(vma->vm_ops->pte_alloc(&vmf), 0);
	EQ(vma->vm_ops->insert_run(&vmf, PAGE, 8, device_pfn(16), true), 0);
	for (unsigned int i = 0; i < 8; i++)
		CHECK(shows_frame(PAGE + i, device_pfn(i == 4 ? 100 : 16 + i), 'w'));
	EQ(vma->vm_ops->insert_run(&vmf, PAGE + 4, 8, DAX_ZERO_PFN, false), 0);
	EQ(count_zero(PAGE + 8, 4), 4);
	CHECK(shows_nothing(PAGE + 12));
	CHECK(shows_frame(PAGE + 4, device_pfn(100), 'w'));
	tear_down();
}

/* ---- zap ---------------------------------------------------------------------------------------- */

static void zap_part_of_a_run(void)
{
	set_up();
	for (unsigned int i = 0; i < 10; i++)
		EQ(insert(PAGE + i, device_pfn(20 + i), true), 0);
	zap(PAGE + 3, PAGE + 5, false);
	for (unsigned int i = 0; i < 10; i++)
		if (i >= 3 && i <= 5)
			CHECK(shows_nothing(PAGE + i) && !leaf(PAGE + i));
		else
			CHECK(shows_frame(PAGE + i, device_pfn(20 + i), 'w'));
	zap(0, PAGES - 1, false);
	for (unsigned int i = 0; i < 10; i++)
		CHECK(shows_nothing(PAGE + i) && !leaf(PAGE + i));
	EQ(insert(PAGE + 4, DAX_ZERO_PFN, false), 0);
	CHECK(shows_zero(PAGE + 4));
	tear_down();
}

static void zap_of_all_kinds(void)
{
	set_up();
	for (unsigned int i = 0; i < 12; i++)
		EQ(insert(PAGE + i, i % 3 ? device_pfn(20 + i) : DAX_ZERO_PFN, i % 3), 0);
	zap(PAGE, PAGE + 11, true);
	for (unsigned int i = 0; i < 12; i++)
		CHECK(shows_nothing(PAGE + i) && !leaf(PAGE + i));
	tear_down();
}

static void huge_zero(void)
{
	set_up();
	EQ(insert_huge(DAX_HUGE_ZERO_PFN, false), 0);
	EQ(count_zero(BASE, PMD_PAGES), PMD_PAGES);
	CHECK(shows_nothing(BASE - 1) && shows_nothing(BASE + PMD_PAGES));
	EQ(insert_huge(DAX_HUGE_ZERO_PFN, false), -EBUSY);
	zap(PAGE, PAGE, false);		/* goes whole */
	EQ(count_zero(BASE, PMD_PAGES), 0);
	CHECK(shows_nothing(BASE) && shows_nothing(BASE + PMD_PAGES - 1));
	EQ(insert(PAGE, DAX_ZERO_PFN, false), 0);
	EQ(insert_huge(DAX_HUGE_ZERO_PFN, false), -EBUSY);
	EQ(count_zero(BASE, PMD_PAGES), 1);
	tear_down();
}

static void split_huge_zero(void)
{
	set_up();
	EQ(insert_huge(DAX_HUGE_ZERO_PFN, false), 0);
	vma->vm_ops->split_zero_pmd(vma, PAGE);
	EQ(vma->vm_ops->pmd_state(vma, PAGE), VMA_PMD_TABLE);
	EQ(count_zero(BASE, PMD_PAGES), PMD_PAGES);
	zap(PAGE, PAGE, false);
	CHECK(shows_nothing(PAGE));
	EQ(count_zero(BASE, PMD_PAGES), PMD_PAGES - 1);
	EQ(insert(PAGE, device_pfn(7), true), 0);
	CHECK(shows_frame(PAGE, device_pfn(7), 'w'));
	EQ(count_zero(BASE, PMD_PAGES), PMD_PAGES - 1);
	tear_down();
}

static void split_without_memory(void)
{
	set_up();
	EQ(insert_huge(DAX_HUGE_ZERO_PFN, false), 0);
	oom_fail_nth(1);
	vma->vm_ops->split_zero_pmd(vma, PAGE);
	oom_clear();
	CHECK(oom_fired());
	CHECK(!leaf(PAGE));
	for (dax_pgoff_t page = BASE; page < BASE + PMD_PAGES; page += 37)
		CHECK(shows_nothing(page));
	tear_down();
}

static void huge_frame(void)
{
	set_up();
	EQ(insert_huge(device_pfn(PMD_PAGES), true), 0);
	CHECK(shows_frame(BASE, device_pfn(PMD_PAGES), 'w'));
	CHECK(shows_frame(BASE + 511, device_pfn(PMD_PAGES + 511), 'w'));
	CHECK(shows_nothing(BASE + 512));
	vma->vm_ops->split_huge_pmd(vma, PAGE);	/* writable: it stays */
	CHECK(shows_frame(PAGE, device_pfn(PMD_PAGES + 3), 'w'));
	zap(PAGE, PAGE, false);
	CHECK(shows_nothing(BASE) && shows_nothing(PAGE) && shows_nothing(BASE + 511));
	tear_down();
}

/* ---- private copies ------------------------------------------------------------------------------- */

static void *copy_of(int value)
{
	void *page = dax_alloc_page();

	MUST(page);
	memset(page, value, DAX_PAGE_SIZE);
	return page;
}

static int finish_cow(dax_pgoff_t page, int value)
{
	void *copy = copy_of(value);
	int ret;

	vmf.pgoff = page;
	vmf.pte = NULL;
	ret = vma->vm_ops->finish_cow(&vmf, copy);
	if (ret)
		dax_free(copy);
	return ret;
}

static bool is_copy(dax_pgoff_t page, int value)
{
	return kind(page) == 'a' && is(page, PM_PRESENT) && !is(page, PM_PROTECTED) &&
	       leaf(page) & LEAF_ANON && raw_load(page) == value;
}

static void cow(void)
{
	set_up_with(RW_PRIVATE);
	EQ(finish_cow(PAGE, 3), 0);
	CHECK(is_copy(PAGE, 3));
	EQ(finish_cow(PAGE, 4), -EBUSY);
	EQ(raw_store(PAGE, 5), 0);
	CHECK(is_copy(PAGE, 5));
	EQ(insert(PAGE + 1, DAX_ZERO_PFN, false), 0);
	EQ(finish_cow(PAGE + 1, 6), 0);
	CHECK(is_copy(PAGE + 1, 6));
	EQ(insert(PAGE + 2, device_pfn(9), false), 0);
	EQ(finish_cow(PAGE + 2, 7), 0);
	CHECK(is_copy(PAGE + 2, 7));
	EQ(fx.file->cow_bytes, 3 * DAX_PAGE_SIZE);
	zap(PAGE, PAGE + 9, false);
	CHECK(is_copy(PAGE, 5) && is_copy(PAGE + 1, 6) && is_copy(PAGE + 2, 7));
	zap(PAGE, PAGE + 1, true);
	CHECK(shows_nothing(PAGE) && shows_nothing(PAGE + 1) && is_copy(PAGE + 2, 7));
	tear_down();
}

/* The CPU has stored to a private piece: nobody was asked. */
static void cow_of_the_kernel(void)
{
	set_up_with(RW_PRIVATE);
	for (unsigned int i = 0; i < 100; i++) {
		*(char *)pfn_to_kaddr(device_pfn(20 + i)) = 1;
		EQ(insert(PAGE + i, device_pfn(20 + i), false), 0);
		if (i % 3 == 0)
			EQ(raw_store(PAGE + i, 9), 0);
	}
	EQ(finish_cow(PAGE, 4), 0);	/* the kernel's is the page */
	CHECK(is_copy(PAGE, 9));
	zap(PAGE, PAGE + 99, false);
	for (unsigned int i = 0; i < 100; i++)
		CHECK(i % 3 ? shows_nothing(PAGE + i) : is_copy(PAGE + i, 9));
	EQ(*(char *)pfn_to_kaddr(device_pfn(20)), 1);
	zap(PAGE, PAGE + 99, true);
	for (unsigned int i = 0; i < 100; i++)
		CHECK(shows_nothing(PAGE + i) && !leaf(PAGE + i));
	tear_down();
}

static void cow_without_memory(void)
{
	set_up_with(RW_PRIVATE);
	OOM_LOOP(n) {
		void *copy = copy_of(3);
		int ret;

		vmf.pgoff = PAGE;
		vmf.pte = NULL;
		oom_fail_nth(n);
		ret = vma->vm_ops->finish_cow(&vmf, copy);
		oom_clear();
		if (!oom_fired()) {
			EQ(ret, 0);
			break;
		}
		dax_free(copy);
		EQ(ret, -ENOMEM);
		CHECK(shows_nothing(PAGE) && !leaf(PAGE));
	}
	CHECK(oom_rounds() > 0);
	CHECK(is_copy(PAGE, 3));
	tear_down();
}

/* ---- stores at the wrong moment ----------------------------------------------------------------------- */

static enum dax_test_point store_point;
static dax_pgoff_t store_pages[4];
static _Atomic int to_store;

/* Once: zeroes are there, and somebody stores to them. */
static void store_there(enum dax_test_point point)
{
	if (point != store_point || atomic_exchange(&to_store, 0) == 0)
		return;
	for (int i = 0; i < 4; i++)
		*(volatile char *)at(store_pages[i]) = (char)(10 + i);
}

static void expect_stores(enum dax_test_point point, dax_pgoff_t first, unsigned int step)
{
	for (unsigned int i = 0; i < 4; i++)
		store_pages[i] = first + i * step;
	store_point = point;
	to_store = 1;
	dax_test.yield = store_there;
}

/* How many of the four stores are not in the file. */
static int lost(void)
{
	int nr = 0;

	for (int i = 0; i < 4; i++)
		nr += get(store_pages[i]) != 10 + i;
	return nr;
}

static void stray_stores(unsigned int pages, unsigned int step)
{
	set_up_file(RW_SHARED, pages);
	expect_stores(DAX_TEST_ZEROES_INSERTED, BASE, step);
	EQ(raw_load(BASE + (step ? 5 : 0)), step ? 0 : 13);
	EQ(to_store, 0);
	dax_test.yield = NULL;
	if (step)
		EQ(lost(), 0);
	for (int i = 0; step && i < 4; i++) {
		EQ(raw_load(store_pages[i]), 10 + i);
		EQ(kind(store_pages[i]), 'w');
		CHECK(is_dirty(store_pages[i]));
	}
	EQ(get(BASE), step ? 10 : 13);
	check_invariants(fx.file);
	unmap();
}

static void stray_stores_into_2mib(void)
{
	stray_stores(DAX_PAGES_AUTO, 101);
}

static void stray_stores_into_one_page(void)
{
	stray_stores(DAX_PAGES_PTE, 0);
}

/* A run of stores begins in 2 MiB of zeroes: those are taken apart for it. */
static void run_into_2mib(void)
{
	set_up_file(RW_SHARED, DAX_PAGES_AUTO);
	EQ(raw_load(BASE), 0);
	EQ(vma_fault_around(vma, BASE, 64, true), 64);
	EQ(kind(BASE + 63), 'w');
	CHECK(shows_zero(BASE + 64));
	EQ(raw_load(BASE + 511), 0);
	EQ(raw_store(BASE + 5, 7), 0);
	EQ(get(BASE + 5), 7);
	check_invariants(fx.file);
	unmap();
}

/* Who asks for blocks beforehand keeps them, also those that were there ahead. */
static void promised_blocks_stay(void)
{
	set_up_file(RW_SHARED, DAX_PAGES_PTE);
	EQ(vma_fault_around(vma, BASE, 8, true), 8);
	EQ(dax_vma_fault_range(vma, BASE + 2, 3, true, NULL, 0, NULL), 0);
	EQ(mapping_give_back_ahead(fx.file), 0);
	for (dax_pgoff_t i = 0; i < 8; i++)
		EQ(radix_tree_lookup(&fx.file->i_pages, BASE + i) != NULL,
		   i == 0 || (i >= 2 && i < 5));
	for (dax_pgoff_t i = 2; i < 5; i++)
		CHECK(is_dirty(BASE + i));
	EQ(raw_store(BASE + 3, 7), 0);
	EQ(get(BASE + 3), 7);
	check_invariants(fx.file);
	unmap();
}

/* Loads in a row bring in zeroes ahead: stores to those are stray too. */
static void store_ahead(enum dax_test_point point)
{
	if (point == DAX_TEST_ZEROES_INSERTED && is(store_pages[3], PM_PRESENT))
		store_there(point);
}

static void stray_stores_ahead(void)
{
	fx_open_real(PAGES);
	map(RW_SHARED, DAX_PAGES_PTE, 64 * DAX_PAGE_SIZE);
	expect_stores(DAX_TEST_ZEROES_INSERTED, PAGE + 3, 1);
	dax_test.yield = store_ahead;
	for (dax_pgoff_t page = PAGE; to_store && page < PAGE + 3; page++)
		EQ(raw_load(page), 0);
	EQ(to_store, 0);
	dax_test.yield = NULL;
	EQ(lost(), 0);
	check_invariants(fx.file);
	unmap();
}

/* The CPU stores beside a load that is a call. */
static void stray_stores_beside_calls(void)
{
	const dax_pgoff_t page = BASE;
	char byte;

	for (int i = 0; i < 4; i++) {
		set_up_file(RW_SHARED, DAX_PAGES_AUTO);
		expect_stores(DAX_TEST_ZEROES_INSERTED, BASE, 1);
		if (i == 0)
			EQ(dax_vma_read(vma, &byte, 1, (BASE + 9) << DAX_PAGE_SHIFT, NULL), 1);
		else if (i == 1)
			CHECK(!(dax_vma_fault(vma, page, false, NULL) & DAX_VM_FAULT_ERROR));
		else if (i == 2)
			EQ(dax_vma_fault_range(vma, page, 1, false, NULL, 0, NULL), 1);
		else
			EQ(dax_vma_fault_many(vma, &page, 1, false, NULL, 0, NULL), 1);
		EQ(to_store, 0);
		dax_test.yield = NULL;
		EQ(lost(), 0);
		unmap();
	}
}

/* Between a fault and the block for what was stored to its zeroes @change comes;
 * the next fault is elsewhere. */
static int stray_beside(void (*change)(void), unsigned int pages)
{
	int byte;

	set_up_file(RW_SHARED, pages);
	expect_stores(DAX_TEST_ZEROES_INSERTED, PAGE, 0);
	dax_test.yield = store_ahead;
	CHECK(vma_fault_range(vma, BASE, PMD_PAGES, false, NULL, 0, NULL) > 0);
	EQ(to_store, 0);
	dax_test.yield = NULL;
	change();
	EQ(raw_load(0), 0);
	byte = get(PAGE);
	check_invariants(fx.file);
	unmap();
	return byte;
}

static void drop_all_leaves(void)
{
	EQ(vma_dontneed(vma, 0, (uint64_t)PAGES << DAX_PAGE_SHIFT), 0);
}

static void freeze_and_thaw(void)
{
	EQ(dax_mapping_freeze(fx.file), 0);
	EQ(dax_mapping_thaw(fx.file), 0);
}

/* Loads of a frozen file wait for nothing, whatever they come across. */
static void freeze_and_load(void)
{
	char byte;

	EQ(dax_mapping_freeze(fx.file), 0);
	EQ(raw_load(0), 0);
	EQ(dax_vma_read(vma, &byte, 1, 0, NULL), 1);
	EQ(dax_mapping_thaw(fx.file), 0);
	EQ(dax_mapping_fsync(fx.file, NULL), 0);
}

static void promote_zeroes(void)
{
	EQ(promote(fx.file, BASE), 0);
	CHECK(!radix_tree_lookup(&fx.file->i_pages, PAGE));
}

/* Another mapping takes the page ahead, and has no use for it. */
static void take_and_give_back(void)
{
	struct dax_vma *other;

	MUST(!new_vma(&other, RW_SHARED, DAX_PAGES_PTE, 0));
	EQ(vma_fault_around(other, BASE, 8, true), 8);
	EQ(mapping_give_back_ahead(fx.file), 0);
	CHECK(!radix_tree_lookup(&fx.file->i_pages, PAGE - 1));
	dax_vma_put(other);
}

static void punch_it(void)
{
	EQ(dax_mapping_punch_hole(fx.file, (dax_loff_t)PAGE << DAX_PAGE_SHIFT,
				  DAX_PAGE_SIZE), 0);
}

static void cut_it_off(void)
{
	EQ(dax_mapping_truncate(fx.file, (dax_loff_t)PAGE << DAX_PAGE_SHIFT), 0);
	EQ(dax_mapping_truncate(fx.file, (dax_loff_t)PAGES << DAX_PAGE_SHIFT), 0);
}

static void clone_over_it(void)
{
	EQ(dax_mapping_clone_range(fx.file, (dax_loff_t)PAGE << DAX_PAGE_SHIFT, fx.file, 0,
				   DAX_PAGE_SIZE), 0);
}

static void clone_from_it(void)
{
	EQ(dax_mapping_clone_range(fx.file, 0, fx.file, (dax_loff_t)PAGE << DAX_PAGE_SHIFT,
				   DAX_PAGE_SIZE), 0);
}

/* Leaves that go take no stores with them. */
static void strays_outlive_leaves(void)
{
	EQ(stray_beside(drop_all_leaves, DAX_PAGES_PTE), 13);
	EQ(stray_beside(freeze_and_thaw, DAX_PAGES_PTE), 13);
	EQ(stray_beside(freeze_and_load, DAX_PAGES_PTE), 13);
	EQ(stray_beside(promote_zeroes, DAX_PAGES_PTE), 13);
	EQ(stray_beside(take_and_give_back, DAX_PAGES_AUTO), 13);
	EQ(stray_beside(clone_from_it, DAX_PAGES_PTE), 13);
}

static void strays_go_with_the_page(void)
{
	EQ(stray_beside(punch_it, DAX_PAGES_PTE), 0);
	EQ(stray_beside(cut_it_off, DAX_PAGES_PTE), 0);
	EQ(stray_beside(clone_over_it, DAX_PAGES_PTE), 0);
}

static void write_over_it(void)
{
	put(PAGE, 5);
}

static void write_beside_it(void)
{
	EQ(dax_mapping_pwrite(fx.file, "x", 1, ((dax_loff_t)PAGE << DAX_PAGE_SHIFT) + 1), 1);
}

static void promote_and_write(void)
{
	promote_zeroes();
	put(PAGE, 5);
}

/* The CPU, through another mapping: the page gets its block by that, or has got it
 * with @run pages before. */
static void store_by_another(unsigned int run)
{
	struct dax_vma *other;
	char *addr;

	MUST(!new_vma(&other, RW_SHARED, DAX_PAGES_PTE, 0));
	addr = dax_vma_address(other);
	if (run)
		EQ(vma_fault_around(other, PAGE - 1, run, true), run);
	((volatile char *)addr)[(uint64_t)PAGE << DAX_PAGE_SHIFT] = 6;
	dax_vma_put(other);
}

static void store_through_another(void)
{
	store_by_another(0);
}

static void store_a_run_through_another(void)
{
	store_by_another(8);
}

static void zero_it(void)
{
	EQ(dax_mapping_zero_range(fx.file, (dax_loff_t)PAGE << DAX_PAGE_SHIFT, 1), 0);
}

static void punch_a_part(void)
{
	EQ(dax_mapping_punch_hole(fx.file, (dax_loff_t)PAGE << DAX_PAGE_SHIFT, 100), 0);
}

/* What comes after such a store stays: it is not undone when the page gets a block. */
static void strays_are_older(void)
{
	EQ(stray_beside(write_beside_it, DAX_PAGES_PTE), 13);
	EQ(stray_beside(write_over_it, DAX_PAGES_PTE), 5);
	EQ(stray_beside(write_over_it, DAX_PAGES_AUTO), 5);
	EQ(stray_beside(promote_and_write, DAX_PAGES_PTE), 5);
	EQ(stray_beside(store_through_another, DAX_PAGES_PTE), 6);
	EQ(stray_beside(store_a_run_through_another, DAX_PAGES_PTE), 6);
	EQ(stray_beside(zero_it, DAX_PAGES_PTE), 0);
	EQ(stray_beside(punch_a_part, DAX_PAGES_PTE), 0);
}

static void sync_it(void)
{
	EQ(dax_mapping_fsync(fx.file, NULL), 0);
	EQ(get(PAGE), 13);
	CHECK(!is_dirty(PAGE));
}

/* An fsync covers such a store: it has its block then. */
static void strays_are_synced(void)
{
	EQ(stray_beside(sync_it, DAX_PAGES_PTE), 13);
	EQ(stray_beside(sync_it, DAX_PAGES_AUTO), 13);
}

/* Zeroes that are stored leave the hole a hole. */
static void stray_zeroes(void)
{
	set_up_file(RW_SHARED, DAX_PAGES_AUTO);
	expect_stores(DAX_TEST_ZEROES_INSERTED, BASE, 1);
	EQ(raw_load(BASE + 5), 0);
	dax_test.yield = NULL;
	EQ(lost(), 0);
	CHECK(dax_is_zero_entry(radix_tree_lookup(&fx.file->i_pages, BASE + 9)));
	unmap();
}

static void stray_store_of_a_private_mapping(void)
{
	set_up_file(RW_PRIVATE, DAX_PAGES_AUTO);
	expect_stores(DAX_TEST_ZEROES_INSERTED, BASE, 3);
	EQ(raw_load(BASE + 5), 0);
	dax_test.yield = NULL;
	for (int i = 0; i < 4; i++) {
		EQ(raw_load(store_pages[i]), 10 + i);
		EQ(get(store_pages[i]), 0);
	}
	EQ(dax_mapping_punch_hole(fx.file, 0, (uint64_t)PAGES << DAX_PAGE_SHIFT), 0);
	for (int i = 0; i < 4; i++)
		EQ(raw_load(store_pages[i]), 10 + i);
	EQ(dax_mapping_truncate(fx.file, 0), 0);
	EQ(dax_mapping_truncate(fx.file, (dax_loff_t)PAGES << DAX_PAGE_SHIFT), 0);
	for (int i = 0; i < 4; i++)
		EQ(raw_load(store_pages[i]), 0);
	unmap();
}

/* What was inserted is taken away before it is looked at. */
static void discard_there(enum dax_test_point point)
{
	if (point == DAX_TEST_ZEROES_PROTECTED && atomic_exchange(&to_store, 0))
		vm_area_discard(at(PAGE), DAX_PAGE_SIZE);
}

static void close_there(enum dax_test_point point)
{
	if (point == DAX_TEST_ZEROES_PROTECTED && atomic_exchange(&to_store, 0))
		vm_area_protect(at(PAGE), DAX_PAGE_SIZE, false, false);
	else if (point == DAX_TEST_BEFORE_UNLOCK)
		vm_area_protect(at(PAGE), DAX_PAGE_SIZE, true, true);
}

static void zeroes_changed_by(void (*yield)(enum dax_test_point))
{
	set_up_file(RW_SHARED, DAX_PAGES_PTE);
	to_store = 1;
	dax_test.yield = yield;
	EQ(raw_load(PAGE), 0);
	EQ(to_store, 0);
	EQ(raw_store(PAGE, 7), 0);
	EQ(get(PAGE), 7);
	check_invariants(fx.file);
	unmap();
}

static void zeroes_taken_away(void)
{
	zeroes_changed_by(discard_there);
	zeroes_changed_by(close_there);
}

/* The tests above see it when a rule is taken out. */
static void late_store_is_lost(void)
{
	set_up_file(RW_SHARED, DAX_PAGES_PTE);
	dax_test.mutation = DAX_MUTATE_PROTECT_LATE;
	expect_stores(DAX_TEST_ZEROES_INSERTED, BASE, 0);
	raw_load(BASE);
	EQ(to_store, 0);
	EQ(get(BASE), 0);
	unmap();
}

static void unprotected_store_is_lost(void)
{
	set_up_file(RW_SHARED, DAX_PAGES_PTE);
	dax_test.mutation = DAX_MUTATE_NO_PROTECT;
	EQ(raw_load(BASE), 0);
	EQ(raw_store(BASE, 13), 0);
	EQ(get(BASE), 0);
	unmap();
}

/* Is the page part of a large one?  -1: the kernel does not say. */
static int is_large(dax_pgoff_t page)
{
	struct {
		uint64_t start, end, categories;
	} region;
	struct {
		uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
		uint64_t inverted, mask, anyof_mask, return_mask;
	} arg = {
		.size = sizeof(arg), .start = (uintptr_t)at(page),
		.end = (uintptr_t)at(page + 1), .vec = (uintptr_t)&region, .vec_len = 1,
		.mask = 1 << 6, .return_mask = 1 << 6,
	};
	int fd = open("/proc/self/pagemap", O_RDONLY), ret;

	MUST(fd >= 0);
	ret = sys_ioctl(fd, _IOWR('f', 16, arg), &arg);
	close(fd);
	return ret < 0 ? -1 : ret;
}

static int large_after_load(unsigned int flags)
{
	int ret;

	set_up_file(flags, DAX_PAGES_AUTO);
	EQ(raw_load(PAGE), 0);
	ret = is_large(PAGE);
	unmap();
	return ret;
}

/* Areas that nobody may store to are served as well as others. */
static void large_zeroes_of_a_readonly_mapping(void)
{
	int large = large_after_load(RW_SHARED);

	EQ(large_after_load(DAX_VM_READ | DAX_VM_SHARED), large);
}

/* What is stored while pages are moved to a read-only area is not seen. */
static void stores_into_a_readonly_mapping(void)
{
	set_up_file(DAX_VM_READ | DAX_VM_SHARED, DAX_PAGES_AUTO);
	expect_stores(DAX_TEST_ZEROES_INSERTED, BASE, 101);
	EQ(raw_load(BASE), 0);
	dax_test.yield = NULL;
	for (int i = 0; i < 4; i++)
		EQ(raw_load(BASE + (dax_pgoff_t)i * 101), 0);
	check_invariants(fx.file);
	unmap();
}

/* ---- what cannot be served ----------------------------------------------------------------------------- */

static void past_the_end(void)
{
	set_up_file(RW_SHARED, DAX_PAGES_AUTO);
	EQ(raw_store(PAGE, 1), 0);
	EQ(dax_mapping_truncate(fx.file, (dax_loff_t)PAGE << DAX_PAGE_SHIFT), 0);
	for (int round = 0; round < 3; round++) {
		EQ(raw_load(PAGE), -1);
		EQ(raw_store(PAGE, 1), -1);
		for (dax_pgoff_t page = PAGE; page < PAGE + 100; page++)
			EQ(raw_load(page), -1);
	}
	EQ(raw_load(PAGE - 1), 0);
	EQ(raw_store(PAGE - 1, 2), 0);
	EQ(dax_mapping_truncate(fx.file, (dax_loff_t)PAGES << DAX_PAGE_SHIFT), 0);
	for (dax_pgoff_t page = PAGE; page < PAGE + 100; page++)
		EQ(raw_load(page), 0);
	EQ(raw_store(PAGE, 3), 0);
	EQ(get(PAGE), 3);
	EQ(get(PAGE - 1), 2);
	check_invariants(fx.file);
	unmap();
}

static _Atomic int held, let_go;
static _Atomic pid_t toucher;

static void hold_here(enum dax_test_point point)
{
	if (point != DAX_TEST_PIECE_GONE || held)
		return;
	held = 1;
	while (!let_go)
		sched_yield();
}

static void *cut_off(void *arg)
{
	(void)arg;
	EQ(dax_mapping_truncate(fx.file, (dax_loff_t)PAGE << DAX_PAGE_SHIFT), 0);
	return NULL;
}

static void *load_there(void *arg)
{
	toucher = (pid_t)sys_gettid();
	*(int *)arg = raw_load(PAGE);
	return NULL;
}

static void wait_until_asleep(void)
{
	char path[64], line[128] = "";

	while (!toucher)
		sched_yield();
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", toucher);
	while (!strstr(line, ") S") && !strstr(line, ") D") && !sys_read_line(path, line, sizeof(line)))
		sched_yield();
}

/* The place is closed when the load comes, and past the end when it is open. */
static void past_the_end_in_between(void)
{
	pthread_t cutter, loader;
	int got = 0;

	set_up_file(RW_SHARED, DAX_PAGES_PTE);
	EQ(raw_store(PAGE, 1), 0);
	held = let_go = toucher = 0;
	dax_test.yield = hold_here;
	MUST(!pthread_create(&cutter, NULL, cut_off, NULL));
	while (!held)
		sched_yield();
	MUST(!pthread_create(&loader, NULL, load_there, &got));
	wait_until_asleep();
	let_go = 1;
	pthread_join(cutter, NULL);
	pthread_join(loader, NULL);
	EQ(got, -1);
	unmap();
}

/* Of the kernel, which reads a file into the page. */
static void *read_there(void *arg)
{
	int fd = open("/dev/zero", O_RDONLY);

	MUST(fd >= 0);
	toucher = (pid_t)sys_gettid();
	*(int *)arg = (int)sys_read(fd, at(PAGE), DAX_PAGE_SIZE);
	close(fd);
	return NULL;
}

static void *drop_leaves(void *arg)
{
	(void)arg;
	EQ(dax_vma_dontneed(vma, 0, (uint64_t)PAGES << DAX_PAGE_SHIFT), 0);
	return NULL;
}

/* Where the piece was there is never a place that a system call fails at. */
static void system_call_in_between(void)
{
	pthread_t dropper, reader;
	int got = 0;

	set_up_file(RW_SHARED, DAX_PAGES_PTE);
	for (dax_pgoff_t page = PAGE - 1; page < PAGE + 2; page++)
		EQ(raw_store(page, 1), 0);
	held = let_go = toucher = 0;
	dax_test.yield = hold_here;
	MUST(!pthread_create(&dropper, NULL, drop_leaves, NULL));
	while (!held)
		sched_yield();
	MUST(!pthread_create(&reader, NULL, read_there, &got));
	if (delivery)	/* there it fails, and may */
		let_go = 1;
	else
		wait_until_asleep();
	let_go = 1;
	pthread_join(dropper, NULL);
	pthread_join(reader, NULL);
	if (!delivery)
		EQ(got, DAX_PAGE_SIZE);
	EQ(get(PAGE - 1), 1);
	EQ(get(PAGE), delivery && got < 0 ? 1 : 0);
	EQ(get(PAGE + 1), 1);
	EQ(raw_store(PAGE, 2), 0);
	EQ(get(PAGE), 2);
	check_invariants(fx.file);
	unmap();
}

/* ---- no memory ------------------------------------------------------------------------------------------- */

static void new_without_memory(void)
{
	fx_open_real(PAGES);
	OOM_LOOP(n) {
		int ret;

		oom_fail_nth(n);
		ret = new_vma(&vma, RW_SHARED, DAX_PAGES_AUTO, DAX_FAULT_AROUND_DEFAULT);
		oom_clear();
		if (!ret) {
			mem = dax_vma_address(vma);
			EQ(raw_load(PAGE), 0);
			EQ(raw_store(PAGE, 4), 0);
			EQ(get(PAGE), 4);
			EQ(dax_mapping_punch_hole(fx.file, 0,
						  (uint64_t)PAGES << DAX_PAGE_SHIFT), 0);
			dax_vma_put(vma);
		} else {
			EQ(ret, -ENOMEM);
		}
		if (!oom_fired())
			break;
	}
	CHECK(oom_rounds() > 3);
	EQ(fx.file->page_table_bytes, 0);
	fx_close();
}

static int do_load(dax_pgoff_t page)
{
	return raw_load(page);
}

static int do_store(dax_pgoff_t page)
{
	return raw_store(page, 7);
}

static int do_call(dax_pgoff_t page)
{
	char byte = 7;

	return dax_vma_write(vma, &byte, 1, page << DAX_PAGE_SHIFT, NULL) == 1 ? 0 : -1;
}

/* It fails, and then it works; the file holds what was stored. */
static void access_without_memory(unsigned int flags, int (*access)(dax_pgoff_t page))
{
	OOM_LOOP(n) {
		set_up_file(flags, n % 2 ? DAX_PAGES_AUTO : DAX_PAGES_PTE);
		oom_fail_nth(n);
		access(PAGE);
		oom_clear();
		EQ(access(PAGE), 0);
		if (access != do_load) {
			EQ(raw_load(PAGE), 7);
			EQ(get(PAGE), flags & DAX_VM_SHARED ? 7 : 0);
		}
		EQ(raw_load(PAGE + 1), 0);
		check_invariants(fx.file);
		unmap();
		if (!oom_fired() && n > 6)
			break;
	}
	CHECK(oom_rounds() > 0);
}

static void accesses_without_memory(void)
{
	access_without_memory(RW_SHARED, do_load);
	access_without_memory(RW_SHARED, do_store);
	access_without_memory(RW_SHARED, do_call);
	access_without_memory(RW_PRIVATE, do_store);
}

/* A store that the CPU has made and that is lost for want of memory is told of. */
static void strays_without_memory(void)
{
	OOM_LOOP(n) {
		uint32_t since;
		int ret;

		set_up_file(RW_SHARED, DAX_PAGES_AUTO);
		since = dax_mapping_wb_err(fx.file);
		raw_load(0);	/* tables and nodes are there */
		expect_stores(DAX_TEST_ZEROES_INSERTED, BASE, 3);
		oom_fail_nth(n);
		raw_load(BASE + 5);
		oom_clear();
		dax_test.yield = NULL;
		EQ(raw_load(BASE + 5), 0);
		ret = dax_mapping_fsync(fx.file, &since);
		CHECK(ret == 0 || ret == -ENOMEM);
		if (!to_store)
			EQ(lost() > 0, ret < 0);
		check_invariants(fx.file);
		unmap();
		if (!oom_fired())
			break;
	}
	CHECK(oom_rounds() > 0);
}

/* ---- what the CPU stored to ------------------------------------------------------------------------------------- */

/* Entries that a writeback of all of the file flushed. */
static int64_t flushed(void)
{
	return dax_mapping_writeback(fx.file, 0, (uint64_t)PAGES << DAX_PAGE_SHIFT);
}

enum { LOADED = 40 };

/* Blocks from @first on that nobody has stored to, mapped for loads. */
static void load_blocks(dax_pgoff_t first, dax_pgoff_t nr)
{
	for (dax_pgoff_t i = 0; i < nr; i++)
		put(first + i, 1);
	flushed();
	for (dax_pgoff_t i = 0; i < nr; i++)
		EQ(raw_load(first + i), 1);
}

/* @exact of them were stored to, and that is known; or all that are mapped are. */
static void expect_flushed(int64_t exact, int64_t all)
{
	EQ(flushed(), is_exact() ? exact : all);
	EQ(flushed(), is_exact() ? 0 : all);
}

static void stores_are_counted(void)
{
	set_up_file(RW_SHARED, DAX_PAGES_PTE);
	load_blocks(BASE, LOADED);
	expect_flushed(0, LOADED);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 5; i++)
			EQ(raw_store(BASE + (dax_pgoff_t)(7 * i + round), 2), 0);
		expect_flushed(5, LOADED);
	}
	for (int i = 0; i < 3; i++)	/* holes */
		EQ(raw_store(BASE + 100 + 2 * (dax_pgoff_t)i, 2), 0);
	expect_flushed(3, LOADED + 3);
	EQ(raw_store(BASE + 102, 3), 0);
	EQ(do_call(BASE + 104), 0);
	EQ(do_call(BASE + 1), 0);
	EQ(raw_store(BASE + 1, 3), 0);
	expect_flushed(3, LOADED + 3);
	check_invariants(fx.file);
	unmap();
}

/* Each mapping has stores of its own, to pages that the other shows, too. */
static void stores_through_two_mappings(void)
{
	struct dax_vma *other;
	volatile char *more;

	set_up_file(RW_SHARED, DAX_PAGES_PTE);
	load_blocks(BASE, LOADED);
	MUST(!new_vma(&other, RW_SHARED, DAX_PAGES_PTE, 0));
	more = (char *)dax_vma_address(other) + ((size_t)BASE << DAX_PAGE_SHIFT);
	for (int i = 0; i < LOADED; i++)
		EQ(more[(size_t)i << DAX_PAGE_SHIFT], 1);
	expect_flushed(0, LOADED);
	EQ(raw_store(BASE, 2), 0);
	more[1 << DAX_PAGE_SHIFT] = 2;
	EQ(raw_store(BASE + 2, 2), 0);
	more[2 << DAX_PAGE_SHIFT] = 2;
	expect_flushed(3, LOADED);
	more[2 << DAX_PAGE_SHIFT] = 3;
	expect_flushed(1, LOADED);
	more[3 << DAX_PAGE_SHIFT] = 3;
	dax_vma_put(other);
	EQ(flushed(), is_exact() ? 1 : LOADED);
	unmap();
}

/* An entry of 2 MiB is flushed whole, for one page of it. */
static void stores_to_2mib(void)
{
	bool huge;

	set_up_file(RW_SHARED, DAX_PAGES_AUTO);
	for (dax_pgoff_t i = 0; i < 3; i++)
		EQ(dax_vma_fault_range(vma, i * PMD_PAGES, PMD_PAGES, true, NULL, 0,
				       NULL) > 0, true);
	huge = leaf(PMD_PAGES) & LEAF_HUGE;
	EQ(flushed(), huge ? 3 : 3 * PMD_PAGES);
	EQ(dax_vma_dontneed(vma, 0, (uint64_t)3 * PMD_PAGES << DAX_PAGE_SHIFT), 0);
	flushed();
	for (dax_pgoff_t i = 0; i < 3; i++)
		EQ(raw_load(i * PMD_PAGES), 0);
	for (dax_pgoff_t i = 0; i < 9; i++)
		EQ(raw_store(PMD_PAGES + 11 * i, 2), 0);
	if (huge) {
		expect_flushed(1, 3);
		EQ(raw_store(PMD_PAGES + 500, 2), 0);
		EQ(raw_store(2 * PMD_PAGES, 2), 0);
		expect_flushed(2, 3);
	}
	unmap();
}

/* A store from the moment on that its page is mapped. */
static int count_early_store(void)
{
	set_up_file(RW_SHARED, DAX_PAGES_PTE);
	put(PAGE, 1);
	flushed();
	expect_stores(DAX_TEST_FRAMES_MAPPED, PAGE, 0);
	raw_load(PAGE);
	dax_test.yield = NULL;
	to_store = 0;
	return (int)flushed();
}

static void store_before_a_piece_is_tracked(void)
{
	EQ(count_early_store(), 1);
	expect_flushed(0, 1);
	unmap();
}

static void late_tracking_is_seen(void)
{
	dax_test.mutation = DAX_MUTATE_TRACK_LATE;
	EQ(count_early_store(), is_exact() ? 0 : 1);
	unmap();
	dax_test.mutation = 0;
}

static enum dax_test_point late_point;
static pthread_t late_thread;
static _Atomic int late_left, late_stored;

static void *store_late(void *arg)
{
	(void)arg;
	*(volatile char *)at(PAGE) = 9;
	late_stored = 1;
	return NULL;
}

/* While an fsync is there: by the CPU alone, or it waits in a fault. */
static void store_there_late(enum dax_test_point point)
{
	if (point != late_point || atomic_exchange(&late_left, 0) == 0)
		return;
	MUST(!pthread_create(&late_thread, NULL, store_late, NULL));
	while (is_async() && !late_stored)
		sched_yield();
}

/* What is stored after the bytes were flushed is flushed by the next. */
static void store_during_fsync(enum dax_test_point point, int64_t first, int64_t next)
{
	set_up_file(RW_SHARED, DAX_PAGES_PTE);
	load_blocks(PAGE, 1);
	flushed();
	EQ(raw_store(PAGE, 2), 0);
	late_stored = 0;
	late_left = 1;
	late_point = point;
	dax_test.yield = store_there_late;
	EQ(flushed(), first);
	dax_test.yield = NULL;
	EQ(late_left, 0);
	MUST(!pthread_join(late_thread, NULL));
	EQ(get(PAGE), 9);
	EQ(flushed(), next);
	unmap();
}

static void store_after_protection(void)
{
	store_during_fsync(DAX_TEST_WRITEBACK_PROTECTED, 1, 1);
}

static void store_after_the_flush(void)
{
	store_during_fsync(DAX_TEST_WRITEBACK_FLUSHED, 1, 1);
	store_during_fsync(DAX_TEST_WRITEBACK_SYNC, 1, 1);
}

static void missing_mkclean_is_seen(void)
{
	set_up_file(RW_SHARED, DAX_PAGES_PTE);
	EQ(raw_store(PAGE, 2), 0);
	dax_test.mutation = DAX_MUTATE_NO_MKCLEAN;
	EQ(flushed(), 1);
	EQ(flushed(), 1);
	unmap();
}

/* ---- fork ---------------------------------------------------------------------------------------------------- */

static pthread_t main_thread;

static void hold_server(enum dax_test_point point)
{
	if (point != DAX_TEST_AFTER_GRAB || pthread_self() == main_thread)
		return;
	held = 1;
	while (!let_go)
		sched_yield();
}

static void *touch(void *arg)
{
	(void)arg;
	*(volatile char *)at(PAGE) = 1;
	return NULL;
}

/* The parent is serving a fault: its child waits for nothing of that. */
static void fork_while_a_fault_is_served(void)
{
	pthread_t thread;
	int status;
	pid_t pid;

	set_up_file(RW_SHARED, DAX_PAGES_PTE);
	held = let_go = 0;
	main_thread = pthread_self();
	dax_test.yield = hold_server;
	MUST(!pthread_create(&thread, NULL, touch, NULL));
	while (!held)
		sched_yield();
	pid = fork();
	MUST(pid >= 0);
	if (!pid) {
		alarm(200);
		dax_test = (struct dax_test_hooks){ 0 };
		dax_vma_put(vma);
		_exit(0);
	}
	MUST(waitpid(pid, &status, 0) == pid);
	EQ(status, 0);
	let_go = 1;
	pthread_join(thread, NULL);
	EQ(get(PAGE), 1);
	unmap();
}

/* ---- 2 MiB of blocks that are mapped for a load, and what clones share ------------ */

/* Blocks of 2 MiB from BASE on that nobody has stored to. */
static void put_2mib(void)
{
	static char bytes[DAX_PMD_SIZE];

	memset(bytes, 1, sizeof(bytes));
	EQ(dax_mapping_pwrite(fx.file, bytes, sizeof(bytes),
			      (dax_loff_t)(BASE << DAX_PAGE_SHIFT)), (int64_t)sizeof(bytes));
	flushed();
}

/* The vma shows them by one leaf. */
static void load_2mib(void)
{
	EQ(raw_load(PAGE), 1);
	CHECK(leaf(PAGE) & LEAF_HUGE);
}

static void store_to_2mib_mapped_for_a_load(int (*store)(dax_pgoff_t page))
{
	set_up_file(RW_SHARED, DAX_PAGES_AUTO);
	put_2mib();
	load_2mib();
	EQ(!(leaf(PAGE) & LEAF_WRITE), is_exact());
	EQ(store(PAGE), 0);
	EQ(get(PAGE), 7);
	CHECK(leaf(PAGE) & LEAF_HUGE);
	expect_flushed(1, 1);
	check_invariants(fx.file);
	unmap();
}

static int store_7(dax_pgoff_t page)
{
	return raw_store(page, 7);
}

static void stores_to_2mib_mapped_for_a_load(void)
{
	store_to_2mib_mapped_for_a_load(store_7);
	store_to_2mib_mapped_for_a_load(do_call);
}

static int get_of(struct dax_mapping *file, dax_pgoff_t page)
{
	unsigned char byte = 0xee;

	EQ(dax_mapping_pread(file, &byte, 1, (dax_loff_t)(page << DAX_PAGE_SHIFT)), 1);
	return byte;
}

static void store_to_2mib_shared_with_a_clone(int (*store)(dax_pgoff_t page))
{
	struct dax_mapping *clone;

	set_up_file(RW_SHARED, DAX_PAGES_AUTO);
	put_2mib();
	MUST(!dax_mapping_clone(&clone, fx.file));
	load_2mib();
	EQ(kind(PAGE), 'r');
	CHECK(!(leaf(PAGE) & LEAF_WRITE));
	EQ(store(PAGE), 0);
	EQ(kind(PAGE), 'w');
	EQ(get(PAGE), 7);
	EQ(get_of(clone, PAGE), 1);
	CHECK(is_dirty(PAGE));
	check_invariants(fx.file);
	dax_mapping_put(clone);
	unmap();
}

static void stores_to_2mib_shared_with_a_clone(void)
{
	store_to_2mib_shared_with_a_clone(store_7);
	store_to_2mib_shared_with_a_clone(do_call);
}

/* An entry of 2 MiB of which one page is shared does not become DIRTY: another
 * mapping, of 4 KiB, may not let the CPU store to the pages beside it. */
static void store_beside_a_shared_page(void)
{
	const size_t bytes = (size_t)PAGE << DAX_PAGE_SHIFT;
	struct dax_mapping *other_file;
	struct dax_vma *other;
	volatile char *more;

	set_up_file(RW_SHARED, DAX_PAGES_AUTO);
	MUST(!new_vma(&other, RW_SHARED, DAX_PAGES_PTE, 0));
	more = (char *)dax_vma_address(other) + bytes;
	put_2mib();
	MUST(!dax_mapping_clone(&other_file, fx.file));
	EQ(dax_mapping_punch_hole(other_file, 0, (int64_t)bytes), 0);
	EQ(dax_mapping_truncate(other_file, (dax_loff_t)(bytes + DAX_PAGE_SIZE)), 0);
	load_2mib();
	EQ(kind(PAGE), 'r');
	EQ(more[DAX_PAGE_SIZE], 1);
	more[DAX_PAGE_SIZE] = 7;
	dax_vma_put(other);	/* what was stored through it counts by now */
	check_invariants(fx.file);
	CHECK(is_dirty(PAGE + 1));
	EQ(get(PAGE + 1), 7);
	EQ(raw_store(PAGE, 8), 0);
	EQ(get(PAGE), 8);
	EQ(get_of(other_file, PAGE), 1);
	check_invariants(fx.file);
	dax_mapping_put(other_file);
	unmap();
}

/* Pages that are mapped read-only stay so when those around them are mapped. */
static void run_around_a_page_of_a_frozen_file(void)
{
	set_up_file(RW_SHARED, DAX_PAGES_PTE);
	for (dax_pgoff_t i = 0; i < 8; i++)
		put(PAGE + i, 1);
	EQ(dax_mapping_freeze(fx.file), 0);
	EQ(raw_load(PAGE + 4), 1);
	EQ(kind(PAGE + 4), 'r');
	EQ(dax_mapping_thaw(fx.file), 0);
	EQ(vma_fault_around(vma, PAGE, 8, false), 8);
	CHECK(!(leaf(PAGE + 4) & LEAF_WRITE));
	EQ(kind(PAGE + 4), 'r');
	EQ(raw_store(PAGE + 4, 7), 0);
	EQ(get(PAGE + 4), 7);
	EQ(raw_store(PAGE + 5, 7), 0);
	EQ(get(PAGE + 5), 7);
	expect_flushed(2, 8);
	unmap();
}

/* Once: the first piece has gone, and somebody stores through the other. */
static void store_elsewhere(enum dax_test_point point)
{
	if (point == DAX_TEST_PIECE_GONE && atomic_exchange(&to_store, 0))
		*(volatile char *)at(PAGE) = 7;
}

/* What is compared can be stored to by the CPU, up to the moment when its piece
 * goes: such a store is not lost. */
static void store_during_dedupe(void)
{
	const dax_loff_t pos = (dax_loff_t)(PAGE << DAX_PAGE_SHIFT);
	struct dax_vma_attr attr = {
		.struct_size = sizeof(attr), .flags = RW_SHARED, .delivery = delivery,
		.length = (uint64_t)PAGES << DAX_PAGE_SHIFT, .backend = DAX_BACKEND_REAL,
	};
	struct dax_mapping_attr file = {
		.struct_size = sizeof(file), .size = PAGES << DAX_PAGE_SHIFT,
	};
	struct dax_mapping *src;
	struct dax_vma *other;
	int64_t ret;

	set_up_file(RW_SHARED, DAX_PAGES_PTE);
	MUST(!dax_mapping_new(&src, fx.dev, &file));
	MUST(!dax_vma_new(&other, src, &attr));
	EQ(raw_store(PAGE, 1), 0);
	((volatile char *)dax_vma_address(other))[pos] = 1;
	to_store = 1;
	dax_test.yield = store_elsewhere;
	ret = dax_mapping_dedupe_range(fx.file, pos, src, pos, DAX_PAGE_SIZE);
	dax_test.yield = NULL;
	EQ(to_store, 0);
	EQ(ret, -EBADE);
	EQ(get(PAGE), 7);
	EQ(raw_load(PAGE), 7);
	EQ(get_of(src, PAGE), 1);
	dax_vma_put(other);
	dax_mapping_put(src);
	unmap();
}

/* ---- the run -------------------------------------------------------------------------------------------------- */

static const struct test {
	const char *name;
	void (*test)(void);
} tests[] = {
	{ "insert: zero page", insert_zero },
	{ "insert: frame", insert_frame },
	{ "insert: frame, read-only mapping", insert_frame_readonly },
	{ "insert: a store to what was read-only", upgrade },
	{ "insert: a run, around what is there", insert_run },
	{ "zap: part of a run of frames, then all", zap_part_of_a_run },
	{ "zap: zeroes and frames in turn", zap_of_all_kinds },
	{ "2 MiB of zeroes go whole", huge_zero },
	{ "2 MiB of zeroes become 512 pages of it", split_huge_zero },
	{ "the same without memory: they go", split_without_memory },
	{ "2 MiB frame", huge_frame },
	{ "finish_cow, and what takes copies away", cow },
	{ "the kernel's own copies", cow_of_the_kernel },
	{ "finish_cow without memory", cow_without_memory },
	{ "stores before 2 MiB of zeroes are protected", stray_stores_into_2mib },
	{ "stores before a page is protected", stray_stores_into_one_page },
	{ "a run of stores into 2 MiB of zeroes", run_into_2mib },
	{ "stores before zeroes brought in ahead are protected", stray_stores_ahead },
	{ "blocks asked for beforehand stay", promised_blocks_stay },
	{ "stray stores beside faults by calls", stray_stores_beside_calls },
	{ "stray stores outlive leaves", strays_outlive_leaves },
	{ "stray stores go with the page", strays_go_with_the_page },
	{ "what comes after a stray store stays", strays_are_older },
	{ "an fsync covers stray stores", strays_are_synced },
	{ "holes around a stray store stay holes", stray_zeroes },
	{ "zeroes that go before they are looked at", zeroes_taken_away },
	{ "stores are counted by page", stores_are_counted },
	{ "stores through two mappings", stores_through_two_mappings },
	{ "stores to 2 MiB", stores_to_2mib },
	{ "store before a piece is tracked", store_before_a_piece_is_tracked },
	{ "late tracking is seen", late_tracking_is_seen },
	{ "store after protection", store_after_protection },
	{ "store after the flush", store_after_the_flush },
	{ "missing mkclean is seen", missing_mkclean_is_seen },
	{ "stray stores through a private mapping", stray_store_of_a_private_mapping },
	{ "strays looked for before protection: seen", late_store_is_lost },
	{ "no protection: seen", unprotected_store_is_lost },
	{ "large zeroes of a read-only mapping", large_zeroes_of_a_readonly_mapping },
	{ "stores while zeroes come to a read-only mapping", stores_into_a_readonly_mapping },
	{ "past the end: SIGBUS, and not after the file has grown", past_the_end },
	{ "past the end when a load that began before is served", past_the_end_in_between },
	{ "a system call when a piece of the file has gone", system_call_in_between },
	{ "dax_vma_new() without memory", new_without_memory },
	{ "loads and stores without memory", accesses_without_memory },
	{ "stray stores without memory", strays_without_memory },
	{ "fork while a fault is served", fork_while_a_fault_is_served },
	{ "stores to 2 MiB mapped for a load", stores_to_2mib_mapped_for_a_load },
	{ "stores to 2 MiB shared with a clone", stores_to_2mib_shared_with_a_clone },
	{ "store beside a shared page of 2 MiB", store_beside_a_shared_page },
	{ "run around a page of a frozen file", run_around_a_page_of_a_frozen_file },
	{ "store during dedupe", store_during_dedupe },
};

static const char *const without[] = {
	"", "pagemap_scan", "poison", "thp", "move", "wp_async", "wp_async,wp_shmem",
};

enum {
	NR_TESTS = sizeof(tests) / sizeof(tests[0]),
	NR_WITHOUT = sizeof(without) / sizeof(without[0])
};

static void run_all(const char *feature)
{
	char name[160];

	setenv("DAXCORE_DISABLE", feature, 1);
	for (delivery = 0; delivery < 2; delivery++)
		for (unsigned int i = 0; i < NR_TESTS; i++) {
			snprintf(name, sizeof(name), "%s (%s%s%s)", tests[i].name,
				 delivery ? "signal" : "thread", *feature ? ", no " : "",
				 feature);
			run(name, tests[i].test);
		}
}

/* Some is asked for once in a process. */
static void run_in_child(const char *feature)
{
	pid_t pid = fork();
	int status;

	MUST(pid >= 0);
	if (!pid) {
		alarm(200);
		run_all(feature);
		fflush(stdout);
		_exit(tap_failed != 0);
	}
	MUST(waitpid(pid, &status, 0) == pid);
	tap_run += 2 * NR_TESTS;
	tap_failed += status != 0;
}

static bool has_uffd(void)
{
	pid_t pid = fork();
	int status;

	MUST(pid >= 0);
	if (!pid) {
		fx_open(PAGES);
		_exit(new_vma(&vma, RW_SHARED, DAX_PAGES_AUTO, 0) != 0);
	}
	MUST(waitpid(pid, &status, 0) == pid);
	return !status;
}

int main(void)
{
	struct sigaction action = { .sa_handler = on_sigbus };

	sigaction(SIGBUS, &action, NULL);
	if (!has_uffd())
		skip_all("needs uffd: a kernel and a container that allow userfaultfd(2)");
	plan(NR_WITHOUT * 2 * NR_TESTS);
	for (unsigned int i = 0; i < NR_WITHOUT; i++)
		run_in_child(without[i]);
	return done();
}
