/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_vma_soft.c -- the software page table
 *
 * First the table of leaf insertion, cell by cell, through the calls the
 * fault path uses; then zap and split; then what a program sees: loads,
 * stores, private copies, the pagemap.
 */
#include "frames.h"
#include "invariants.h"
#include "oom.h"
#include "white_box.h"

enum { PAGES = 4 * PMD_PAGES, BASE = PMD_PAGES, PAGE = PMD_PAGES + 3 };

static struct dax_vma *vma;
static struct dax_vm_fault vmf;

/* A vma, and a fault at PAGE of it by hand. */
static void set_up_with(unsigned int flags)
{
	fx_open(PAGES);
	vma = fx_vma(0, PAGES, flags, DAX_PAGES_AUTO);
	enter();
	vmf = make_vmf(vma, PAGE, true);
}

static void set_up(void)
{
	set_up_with(RW_SHARED);
}

static void tear_down(void)
{
	dax_test = (struct dax_test_hooks){ 0 };
	leave();
	dax_vma_put(vma);
	EQ(fx.file->page_table_bytes, 0);
	EQ(fx.file->cow_bytes, 0);
	fx_close();
}

static uint64_t leaf(dax_pgoff_t pgoff)
{
	return vma_soft_leaf(vma, pgoff);
}

static uint64_t leaf_of(dax_pfn_t pfn, unsigned int flags)
{
	return pfn << DAX_PAGE_SHIFT | flags | LEAF_PRESENT;
}

static int insert(dax_pfn_t pfn, bool mkwrite)
{
	return vma->vm_ops->insert_mixed(&vmf, pfn, mkwrite);
}

static int insert_huge(dax_pfn_t pfn, bool write)
{
	return vma->vm_ops->insert_pfn_pmd(&vmf, pfn, write);
}

enum {
	RO = 0,
	RW = LEAF_WRITE | LEAF_DIRTY | LEAF_YOUNG,
	MARKED = LEAF_DIRTY | LEAF_YOUNG	/* stored to where no store may be */
};

/* ---- insert_pfn ------------------------------------------------------------------------- */

static void none_read(void)
{
	set_up();
	EQ(insert(device_pfn(9), false), 0);
	EQ(leaf(PAGE), leaf_of(device_pfn(9), RO));
	tear_down();
}

static void none_mkwrite(void)
{
	set_up();
	EQ(insert(device_pfn(9), true), 0);
	EQ(leaf(PAGE), leaf_of(device_pfn(9), RW));
	tear_down();
}

/* maybe_mkwrite: a read-only mapping stays one. */
static void none_mkwrite_readonly_vma(void)
{
	set_up_with(DAX_VM_READ | DAX_VM_SHARED);
	EQ(insert(device_pfn(9), true), 0);
	EQ(leaf(PAGE), leaf_of(device_pfn(9), MARKED));
	tear_down();
}

static void check_present(dax_pfn_t old, bool old_write, dax_pfn_t pfn,
			  bool mkwrite, int expected, unsigned int flags)
{
	EQ(insert(old, old_write), 0);
	EQ(insert(pfn, mkwrite), expected);
	EQ(leaf(PAGE), leaf_of(old, flags));
}

static void same_pfn_read(void)
{
	set_up();
	check_present(device_pfn(9), false, device_pfn(9), false, -EBUSY, RO);
	tear_down();
}

static void same_pfn_read_of_writable(void)
{
	set_up();
	check_present(device_pfn(9), true, device_pfn(9), false, -EBUSY, RW);
	tear_down();
}

static void same_pfn_mkwrite(void)
{
	set_up();
	check_present(device_pfn(9), false, device_pfn(9), true, 0, RW);
	tear_down();
}

static void same_pfn_mkwrite_readonly_vma(void)
{
	set_up_with(DAX_VM_READ | DAX_VM_SHARED);
	check_present(device_pfn(9), false, device_pfn(9), true, 0, MARKED);
	tear_down();
}

static void other_pfn_read(void)
{
	set_up();
	check_present(device_pfn(9), false, device_pfn(10), false, -EBUSY, RO);
	tear_down();
}

static void other_pfn_mkwrite(void)
{
	set_up();
	check_present(device_pfn(9), false, device_pfn(10), true, -EBUSY, RO);
	tear_down();
}

/* Never from the zero page: it has to be unmapped first. */
static void zero_pfn_mkwrite(void)
{
	set_up();
	check_present(DAX_ZERO_PFN, false, device_pfn(9), true, -EBUSY, RO);
	tear_down();
}

static void insert_outside(void)
{
	set_up();
	vmf.pgoff = PAGES;
	EQ(insert(device_pfn(9), false), -EFAULT);
	vmf.pgoff = UINT64_MAX;
	EQ(insert(device_pfn(9), true), -EFAULT);
	tear_down();
}

static void insert_without_memory(void)
{
	set_up();
	for (unsigned int n = 1; n <= 2; n++) {	/* the 2 MiB level, the 4 KiB level */
		oom_fail_nth(n);
		EQ(insert(device_pfn(9), false), -ENOMEM);
		oom_clear();
		CHECK(oom_fired());
		EQ(leaf(PAGE), 0);
	}
	EQ(insert(device_pfn(9), false), 0);
	tear_down();
}

static void insert_under_huge_leaf(void)
{
	set_up();
	EQ(insert_huge(device_pfn(512), false), 0);
	EQ(insert(device_pfn(9), true), -EBUSY);
	EQ(leaf(PAGE), leaf_of(device_pfn(512), LEAF_HUGE));
	tear_down();
}

/* ---- insert_pfn_pmd ----------------------------------------------------------------------- */

static void huge_none(void)
{
	set_up();
	EQ(insert_huge(device_pfn(512), false), 0);
	EQ(leaf(PAGE), leaf_of(device_pfn(512), LEAF_HUGE));
	EQ(leaf(BASE + 511), leaf(BASE));
	EQ(leaf(BASE - 1), 0);
	EQ(leaf(BASE + 512), 0);
	tear_down();
}

static void huge_none_write(void)
{
	set_up();
	EQ(insert_huge(device_pfn(512), true), 0);
	EQ(leaf(PAGE), leaf_of(device_pfn(512), LEAF_HUGE | RW));
	tear_down();
}

static void huge_none_write_readonly_vma(void)
{
	set_up_with(DAX_VM_READ | DAX_VM_SHARED);
	EQ(insert_huge(device_pfn(512), true), 0);
	EQ(leaf(PAGE), leaf_of(device_pfn(512), LEAF_HUGE | MARKED));
	tear_down();
}

static void check_huge_present(dax_pfn_t pfn, bool write, int expected,
			       unsigned int flags)
{
	set_up();
	EQ(insert_huge(device_pfn(512), false), 0);
	EQ(insert_huge(pfn ? pfn : device_pfn(512), write), expected);
	EQ(leaf(PAGE), leaf_of(device_pfn(512), LEAF_HUGE | flags));
	tear_down();
}

static void huge_same_read(void)
{
	check_huge_present(0, false, -EBUSY, RO);
}

static void huge_same_write(void)
{
	check_huge_present(0, true, 0, RW);
}

static void huge_other(void)
{
	check_huge_present(DAX_HUGE_ZERO_PFN, false, -EBUSY, RO);
	check_huge_present(DAX_HUGE_ZERO_PFN, true, -EBUSY, RO);
}

static void huge_zero_write(void)
{
	set_up();
	EQ(insert_huge(DAX_HUGE_ZERO_PFN, false), 0);
	EQ(insert_huge(device_pfn(512), true), -EBUSY);
	EQ(leaf(PAGE), leaf_of(DAX_HUGE_ZERO_PFN, LEAF_HUGE));
	tear_down();
}

static void huge_over_table(void)
{
	set_up();
	EQ(vma->vm_ops->pte_alloc(&vmf), 0);
	EQ(insert_huge(device_pfn(512), false), -EBUSY);
	EQ(insert_huge(device_pfn(512), true), -EBUSY);
	EQ(vma->vm_ops->pmd_state(vma, PAGE), VMA_PMD_TABLE);
	tear_down();
}

static void huge_without_memory(void)
{
	set_up();
	oom_fail_nth(1);
	EQ(insert_huge(device_pfn(512), false), -ENOMEM);
	oom_clear();
	EQ(leaf(PAGE), 0);
	EQ(vma->vm_ops->pmd_state(vma, PAGE), VMA_PMD_NONE);
	tear_down();
}

/* ---- finish_cow -------------------------------------------------------------------------------- */

static int finish_cow(void)
{
	void *page = dax_alloc_page();
	int ret;

	MUST(page);
	memset(page, 'c', DAX_PAGE_SIZE);
	ret = vma->vm_ops->finish_cow(&vmf, page);
	if (ret)
		dax_free(page);
	return ret;
}

static void cow_over_none(void)
{
	set_up_with(RW_PRIVATE);
	EQ(finish_cow(), 0);
	EQ(leaf(PAGE) & LEAF_FLAGS, LEAF_PRESENT | LEAF_ANON | RW);
	EQ(fx.file->cow_bytes, DAX_PAGE_SIZE);
	tear_down();
}

static void cow_over_file_leaf(void)
{
	set_up_with(RW_PRIVATE);
	EQ(insert(DAX_ZERO_PFN, false), 0);
	EQ(finish_cow(), 0);
	CHECK(leaf(PAGE) & LEAF_ANON);
	CHECK(leaf(PAGE) >> DAX_PAGE_SHIFT & DAX_PFN_HOST);
	tear_down();
}

static void cow_over_copy(void)
{
	uint64_t before;

	set_up_with(RW_PRIVATE);
	EQ(finish_cow(), 0);
	before = leaf(PAGE);
	EQ(finish_cow(), -EBUSY);
	EQ(leaf(PAGE), before);
	EQ(fx.file->cow_bytes, DAX_PAGE_SIZE);
	tear_down();
}

static void cow_under_huge_leaf(void)
{
	set_up_with(RW_PRIVATE);
	EQ(insert_huge(DAX_HUGE_ZERO_PFN, false), 0);
	EQ(finish_cow(), -EBUSY);
	vmf.pgoff = PAGES;
	EQ(finish_cow(), -EFAULT);
	EQ(fx.file->cow_bytes, 0);
	tear_down();
}

/* ---- zap and split -------------------------------------------------------------------------------- */

static void put_at(dax_pgoff_t pgoff, dax_pfn_t pfn)
{
	vmf.pgoff = pgoff;
	vmf.pte = NULL;
	EQ(insert(pfn, false), 0);
}

/* Exactly the pages named go, across the borders of tables. */
static void zap_range(void)
{
	set_up();
	for (dax_pgoff_t i = BASE - 3; i < BASE + 3; i++)
		put_at(i, device_pfn(i));
	vma->vm_ops->zap(vma, BASE - 2, BASE + 1, false);
	for (dax_pgoff_t i = BASE - 3; i < BASE + 3; i++)
		EQ(leaf(i) != 0, i == BASE - 3 || i == BASE + 2);
	vma->vm_ops->zap(vma, 0, PAGES - 1, false);
	EQ(leaf(BASE - 3), 0);
	EQ(leaf(BASE + 2), 0);
	tear_down();
}

static void zap_keeps_copies(void)
{
	set_up_with(RW_PRIVATE);
	EQ(finish_cow(), 0);
	put_at(PAGE + 1, DAX_ZERO_PFN);
	vma->vm_ops->zap(vma, 0, PAGES - 1, false);
	CHECK(leaf(PAGE) & LEAF_ANON);
	EQ(leaf(PAGE + 1), 0);
	EQ(fx.file->cow_bytes, DAX_PAGE_SIZE);
	tear_down();
}

static void zap_takes_copies(void)
{
	set_up_with(RW_PRIVATE);
	EQ(finish_cow(), 0);
	vma->vm_ops->zap(vma, PAGE, PAGE, true);
	EQ(leaf(PAGE), 0);
	EQ(fx.file->cow_bytes, 0);
	tear_down();
}

static void zap_of_part_of_a_huge_leaf(void)
{
	for (int even_cows = 0; even_cows < 2; even_cows++) {
		set_up();
		EQ(insert_huge(device_pfn(512), true), 0);
		vma->vm_ops->zap(vma, BASE + 511, BASE + 511, even_cows);
		EQ(leaf(BASE), 0);
		EQ(vma->vm_ops->pmd_state(vma, BASE), VMA_PMD_NONE);
		tear_down();
	}
}

static void zap_of_nothing(void)
{
	set_up();
	vma->vm_ops->zap(vma, 0, PAGES - 1, true);
	EQ(vma->vm_ops->pmd_state(vma, BASE), VMA_PMD_NONE);
	tear_down();
}

static void split_drops_huge_leaf(void)
{
	set_up();
	EQ(insert_huge(device_pfn(512), false), 0);
	vma->vm_ops->split_huge_pmd(vma, PAGE);
	EQ(leaf(PAGE), 0);
	EQ(vma->vm_ops->pmd_state(vma, PAGE), VMA_PMD_NONE);
	tear_down();
}

/* Another fault made it writable: a store may be inside. */
static void split_leaves_a_writable_leaf(void)
{
	uint64_t before;

	set_up();
	EQ(insert_huge(device_pfn(BASE), true), 0);
	before = leaf(PAGE);
	vma->vm_ops->split_huge_pmd(vma, PAGE);
	EQ(leaf(PAGE), before);
	tear_down();
}

/* ---- mkclean ------------------------------------------------------------------------------------ */

static bool mkclean(dax_pgoff_t first, dax_pgoff_t last)
{
	bool changed = false;

	for (dax_pgoff_t index = first; index <= last; index++) {
		struct radix_tree_iter iter = { .index = index };

		changed |= vma->vm_ops->mkclean(vma, &iter, 1);
	}
	return changed;
}

/* A 4 KiB leaf: @flags before; what it is after, and was it changed? */
static void mkclean_cell(unsigned int flags, bool changes)
{
	dax_pfn_t pfn;

	set_up();
	pfn = flags ? device_pfn(PAGE) : DAX_ZERO_PFN;
	EQ(insert(pfn, flags & LEAF_WRITE), 0);
	if (flags & LEAF_DIRTY && !(flags & LEAF_WRITE))
		*vmf.pte |= LEAF_DIRTY;
	*vmf.pte |= LEAF_YOUNG;
	EQ(mkclean(PAGE, PAGE), changes);
	EQ(leaf(PAGE), leaf_of(pfn, LEAF_YOUNG));
	EQ(mkclean(PAGE, PAGE), false);
	tear_down();
}

static void mkclean_none(void)
{
	set_up();
	EQ(mkclean(0, PAGES - 1), false);
	vmf.pgoff = PAGE + 1;
	EQ(insert(device_pfn(PAGE + 1), true), 0);
	EQ(mkclean(PAGE, PAGE), false);		/* a table, no leaf */
	EQ(leaf(PAGE), 0);
	CHECK(leaf(PAGE + 1) & LEAF_WRITE);	/* the neighbour is left */
	EQ(mkclean(PAGE + 2, PAGES - 1), false);
	EQ(mkclean(0, PAGE), false);
	CHECK(leaf(PAGE + 1) & LEAF_WRITE);
	tear_down();
}

static void mkclean_zero(void)
{
	mkclean_cell(0, false);
}

static void mkclean_writable(void)
{
	mkclean_cell(RW, true);
}

static void mkclean_dirty_only(void)
{
	mkclean_cell(LEAF_DIRTY, true);
}

static void mkclean_copy(void)
{
	uint64_t before;

	set_up_with(RW_PRIVATE);
	EQ(finish_cow(), 0);
	before = leaf(PAGE);
	EQ(mkclean(PAGE, PAGE), false);
	EQ(mkclean(0, PAGES - 1), false);
	EQ(leaf(PAGE), before);
	tear_down();
}

static void mkclean_huge_cell(bool zero, bool write)
{
	dax_pfn_t pfn;

	set_up();
	pfn = zero ? DAX_HUGE_ZERO_PFN : device_pfn(BASE);
	EQ(insert_huge(pfn, write), 0);
	EQ(mkclean(0, BASE - 1), false);
	EQ(leaf(BASE) & LEAF_WRITE, write ? LEAF_WRITE : 0);
	EQ(mkclean(BASE, BASE + PMD_PAGES - 1), write);
	EQ(leaf(BASE), leaf_of(pfn, LEAF_HUGE | (write ? LEAF_YOUNG : 0)));
	EQ(mkclean(PAGE, PAGE), false);
	tear_down();
}

static void mkclean_huge(void)
{
	mkclean_huge_cell(false, true);
	mkclean_huge_cell(false, false);
	mkclean_huge_cell(true, false);
}

/* One page of it is asked for: the leaf is one. */
static void mkclean_inside_huge(void)
{
	set_up();
	EQ(insert_huge(device_pfn(BASE), true), 0);
	EQ(mkclean(PAGE, PAGE), true);
	CHECK(!(leaf(BASE) & (LEAF_WRITE | LEAF_DIRTY)));
	tear_down();
}

/* 512 leaves, the border of tables, exactly the range. */
static void mkclean_range(void)
{
	set_up();
	for (dax_pgoff_t i = BASE - 2; i < BASE + PMD_PAGES + 2; i++) {
		vmf.pgoff = i;
		vmf.pte = NULL;
		EQ(insert(device_pfn(i), true), 0);
	}
	EQ(mkclean(BASE, BASE + PMD_PAGES - 1), true);
	for (dax_pgoff_t i = BASE - 2; i < BASE + PMD_PAGES + 2; i++)
		EQ(!(leaf(i) & (LEAF_WRITE | LEAF_DIRTY)),
		   i >= BASE && i < BASE + PMD_PAGES);
	tear_down();
}

/* Shared mappings of all pages of the entries, private ones not; parts of an
 * entry that a mapping does not have are left out. */
static void mkclean_of_a_file(void)
{
	struct radix_tree_iter iter[2] = { { .index = BASE, .order = 9 },
					   { .index = 2 * BASE + 7 } };
	struct dax_vma *part, *copy;

	fx_open(PAGES);
	fx_answer(DAX_IOMAP_MAPPED, 0, 0);
	vma = fx_vma(0, PAGES, RW_SHARED, DAX_PAGES_AUTO);
	part = fx_vma(PAGE, 2, RW_SHARED, DAX_PAGES_PTE);
	copy = fx_vma(0, PAGES, RW_PRIVATE, DAX_PAGES_PTE);
	EQ(dax_vma_write(vma, "a", 1, BASE * 4096ull, NULL), 1);
	EQ(dax_vma_write(part, "b", 1, 0, NULL), 1);
	EQ(dax_vma_write(part, "b", 1, 4096, NULL), 1);
	EQ(dax_vma_write(copy, "c", 1, PAGE * 4096ull, NULL), 1);
	enter();
	EQ(mkclean_mapping_entries(fx.file, iter + 1, 1), false);
	EQ(mkclean_mapping_entries(fx.file, iter, 2), true);
	EQ(mkclean_mapping_entries(fx.file, iter, 2), false);
	leave();
	CHECK(!(leaf(BASE) & (LEAF_WRITE | LEAF_DIRTY)));
	CHECK(!(vma_soft_leaf(part, PAGE) & (LEAF_WRITE | LEAF_DIRTY)));
	CHECK(!(vma_soft_leaf(part, PAGE + 1) & (LEAF_WRITE | LEAF_DIRTY)));
	CHECK(vma_soft_leaf(copy, PAGE) & LEAF_WRITE);
	dax_vma_put(copy);
	dax_vma_put(part);
	dax_vma_put(vma);
	fx_close();
}

static void split_leaves_tables(void)
{
	set_up();
	EQ(insert(device_pfn(9), true), 0);
	vma->vm_ops->split_huge_pmd(vma, PAGE);
	vma->vm_ops->split_huge_pmd(vma, 0);	/* nothing at all there */
	EQ(leaf(PAGE), leaf_of(device_pfn(9), RW));
	tear_down();
}

/* ---- loads and stores --------------------------------------------------------------------------------- */

static void open_real(unsigned int flags, unsigned int kind)
{
	fx_open_real(PAGES);
	vma = fx_vma(0, PAGES, flags, kind);
}

static void close_real(void)
{
	check_invariants(fx.file);
	dax_vma_put(vma);
	EQ(fx.file->page_table_bytes, 0);
	EQ(fx.file->cow_bytes, 0);
	fx_close();
}

static void fill(unsigned char *buf, size_t len, unsigned int seed)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (unsigned char)(seed + i * 7 + (i >> 8)) | 1;	/* never zero */
}

static unsigned char out[3 * DAX_PAGE_SIZE], in[3 * DAX_PAGE_SIZE];

static void check_round_trip(uint64_t offset, size_t len)
{
	fill(out, len, (unsigned int)offset + (unsigned int)len);
	memset(in, 0xee, sizeof(in));
	EQ(dax_vma_write(vma, out, len, offset, NULL), len);
	EQ(dax_vma_read(vma, in, len, offset, NULL), len);
	CHECK(!memcmp(in, out, len));
	EQ(in[len], 0xee);
	EQ(dax_mapping_pread(fx.file, in, len, (dax_loff_t)offset), len);
	EQ(!memcmp(in, out, len), vma_is_shared(vma));
}

static void check_borders(unsigned int flags, unsigned int kind)
{
	static const size_t lengths[] = { 1, 2, 100, 4095, 4096, 4097, 8193 };

	open_real(flags, kind);
	for (unsigned int i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		check_round_trip(DAX_PAGE_SIZE * 5 - lengths[i] / 2, lengths[i]);
		check_round_trip(DAX_PMD_SIZE - lengths[i] / 2, lengths[i]);
		check_round_trip(3 * DAX_PMD_SIZE - lengths[i] + 1, lengths[i]);
		check_round_trip((uint64_t)PAGES * DAX_PAGE_SIZE - lengths[i], lengths[i]);
		check_round_trip(0, lengths[i]);
	}
	close_real();
}

static void borders_of_small_pages(void)
{
	check_borders(RW_SHARED, DAX_PAGES_PTE);
}

static void borders_of_huge_pages(void)
{
	check_borders(RW_SHARED, DAX_PAGES_AUTO);
}

static void borders_of_private_pages(void)
{
	check_borders(RW_PRIVATE, DAX_PAGES_AUTO);
}

/* Around the first GiB of addresses: another table of tables. */
static void borders_of_a_gib(void)
{
	dax_pgoff_t gib = 1 << 18;

	fx_open_real(2 * gib);
	vma = fx_vma(0, 2 * gib, RW_SHARED, DAX_PAGES_PTE);
	check_round_trip((gib << DAX_PAGE_SHIFT) - 3, 6);
	CHECK(leaf(gib - 1) && leaf(gib));
	close_real();
}

/* In a mapping that begins in the file's middle, offsets are the mapping's. */
static void offsets_are_the_mappings(void)
{
	char byte = 0;

	fx_open_real(PAGES);
	vma = fx_vma(700, 100, RW_SHARED, DAX_PAGES_AUTO);
	EQ(dax_vma_write(vma, "m", 1, 5 * DAX_PAGE_SIZE + 9, NULL), 1);
	EQ(dax_mapping_pread(fx.file, &byte, 1, 705 * DAX_PAGE_SIZE + 9), 1);
	EQ(byte, 'm');
	CHECK(leaf(705));
	close_real();
}

static void length_ends_inside_a_page(void)
{
	struct dax_vma_attr attr = { .struct_size = sizeof(attr), .flags = RW_SHARED,
				     .length = DAX_PAGE_SIZE + 10 };
	char buf[20];

	fx_open_real(PAGES);
	MUST(!dax_vma_new(&vma, fx.file, &attr));
	EQ(dax_vma_write(vma, "0123456789", 10, DAX_PAGE_SIZE, NULL), 10);
	EQ(dax_vma_read(vma, buf, 11, DAX_PAGE_SIZE, NULL), -EFAULT);
	EQ(dax_vma_read(vma, buf, 1, DAX_PAGE_SIZE + 10, NULL), -EFAULT);
	EQ(dax_vma_read(vma, buf, 0, DAX_PAGE_SIZE + 10, NULL), 0);
	close_real();
}

/* An access that meets the end of the file says how far it came. */
static void access_past_the_end(void)
{
	struct dax_fault_info info;

	fx_open_real(2);
	vma = fx_vma(0, 4, RW_SHARED, DAX_PAGES_AUTO);
	EQ(dax_vma_read(vma, in, 100, 2 * DAX_PAGE_SIZE - 40, &info), 40);
	EQ(info.error, -EFAULT);
	EQ(info.offset, 2 * DAX_PAGE_SIZE);
	EQ(dax_vma_read(vma, in, 100, 2 * DAX_PAGE_SIZE, &info), -EFAULT);
	EQ(dax_vma_write(vma, in, 100, 3 * DAX_PAGE_SIZE, &info), -EFAULT);
	close_real();
}

static void store_to_a_readonly_mapping(void)
{
	open_real(DAX_VM_READ | DAX_VM_SHARED, DAX_PAGES_AUTO);
	EQ(dax_vma_write(vma, "x", 1, 0, NULL), -EACCES);
	EQ(dax_vma_fault(vma, 0, 1, NULL), -EACCES);
	EQ(entries(), 0);
	close_real();
}

/* ---- shared and private ------------------------------------------------------------------------------------ */

static void copies_are_private(void)
{
	struct dax_vma *first, *second;

	open_real(RW_SHARED, DAX_PAGES_AUTO);
	first = fx_vma(0, PAGES, RW_PRIVATE, DAX_PAGES_AUTO);
	second = fx_vma(0, PAGES, RW_PRIVATE, DAX_PAGES_AUTO);
	store_page(vma, PAGE, 's');
	store_page(first, PAGE, '1');
	EQ(load_page(vma, PAGE), 's');
	EQ(load_page(second, PAGE), 's');
	store_page(second, PAGE, '2');
	store_page(vma, PAGE, 't');
	EQ(load_page(first, PAGE), '1');
	EQ(load_page(second, PAGE), '2');
	EQ(load_page(vma, PAGE), 't');
	EQ(load_page(first, PAGE + 1), 0);
	dax_vma_put(second);
	dax_vma_put(first);
	close_real();
}

/* What is not copied shows the file, also when its block comes later. */
static void private_shows_the_file(void)
{
	struct dax_vma *private;

	open_real(RW_SHARED, DAX_PAGES_AUTO);
	private = fx_vma(0, PAGES, RW_PRIVATE, DAX_PAGES_AUTO);
	EQ(load_page(private, PAGE), 0);
	store_page(vma, PAGE, 's');
	EQ(load_page(private, PAGE), 's');
	EQ(dax_mapping_pwrite(fx.file, "w", 1, (PAGE + 1) << DAX_PAGE_SHIFT), 1);
	EQ(load_page(private, PAGE + 1), 'w');
	dax_vma_put(private);
	close_real();
}

static void copies_survive_punch_not_truncate(void)
{
	struct dax_vma *private;

	open_real(RW_SHARED, DAX_PAGES_PTE);
	private = fx_vma(0, PAGES, RW_PRIVATE, DAX_PAGES_PTE);
	store_page(vma, PAGE, 's');
	store_page(private, PAGE, 'c');
	EQ(dax_mapping_punch_hole(fx.file, PAGE << DAX_PAGE_SHIFT, DAX_PAGE_SIZE), 0);
	EQ(load_page(private, PAGE), 'c');
	EQ(load_page(vma, PAGE), 0);
	EQ(dax_mapping_truncate(fx.file, PAGE << DAX_PAGE_SHIFT), 0);
	EQ(fx.file->cow_bytes, 0);
	EQ(dax_mapping_truncate(fx.file, PAGES << DAX_PAGE_SHIFT), 0);
	EQ(load_page(private, PAGE), 0);
	dax_vma_put(private);
	close_real();
}

static void dontneed_drops_copies(void)
{
	open_real(RW_PRIVATE, DAX_PAGES_PTE);
	store_page(vma, PAGE, 'a');
	store_page(vma, PAGE + 1, 'b');
	EQ(dax_vma_dontneed(vma, PAGE << DAX_PAGE_SHIFT, DAX_PAGE_SIZE), 0);
	EQ(load_page(vma, PAGE), 0);
	EQ(load_page(vma, PAGE + 1), 'b');
	EQ(dax_vma_dontneed(vma, 1, DAX_PAGE_SIZE), -EINVAL);
	EQ(fx.file->cow_bytes, DAX_PAGE_SIZE);
	close_real();
}

/* Dropping the leaves of a shared mapping loses nothing. */
static void dontneed_keeps_the_file(void)
{
	open_real(RW_SHARED, DAX_PAGES_AUTO);
	store_page(vma, PAGE, 'a');
	EQ(dax_vma_dontneed(vma, 0, (uint64_t)PAGES << DAX_PAGE_SHIFT), 0);
	EQ(leaf(PAGE), 0);
	EQ(load_page(vma, PAGE), 'a');
	CHECK(is_dirty(PAGE));
	close_real();
}

/* ---- pagemap and addresses ------------------------------------------------------------------------------------- */

static void pagemap(void)
{
	struct dax_vma *private;
	dax_pfn_t pfn[3];

	open_real(RW_SHARED, DAX_PAGES_PTE);
	private = fx_vma(0, PAGES, RW_PRIVATE, DAX_PAGES_PTE);
	load_page(vma, PAGE);
	store_page(vma, PAGE + 1, 'a');
	EQ(dax_vma_pagemap(vma, PAGE, pfn, 3), 0);
	EQ(pfn[0], DAX_ZERO_PFN);
	EQ(pfn[1], dax_radix_pfn(dax_to_slot(word_at(PAGE + 1))));
	CHECK(pfn_is_device(pfn[1]));
	EQ(pfn[2], 0);
	store_page(private, PAGE, 'c');
	EQ(dax_vma_pagemap(private, PAGE, pfn, 1), 0);
	CHECK(pfn[0] & DAX_PFN_HOST);
	EQ(*(char *)pfn_to_kaddr(pfn[0]), 'c');
	EQ(dax_vma_pagemap(vma, PAGES - 1, pfn, 2), -EFAULT);
	EQ(dax_vma_pagemap(vma, UINT64_MAX, pfn, 1), -EFAULT);
	EQ(dax_vma_pagemap(vma, PAGES, pfn, 0), 0);
	dax_vma_put(private);
	close_real();
}

static void pagemap_of_huge_leaves(void)
{
	dax_pfn_t pfn[PMD_PAGES], first;

	open_real(RW_SHARED, DAX_PAGES_AUTO);
	load_page(vma, PAGE);
	EQ(dax_vma_pagemap(vma, BASE, pfn, PMD_PAGES), 0);
	for (dax_pgoff_t i = 0; i < PMD_PAGES; i++)
		EQ(pfn[i], DAX_HUGE_ZERO_PFN + i);
	store_page(vma, PAGE, 'a');
	EQ(dax_vma_pagemap(vma, BASE, pfn, PMD_PAGES), 0);
	first = dax_radix_pfn(dax_to_slot(word_at(BASE)));
	for (dax_pgoff_t i = 0; i < PMD_PAGES; i++)
		EQ(pfn[i], first + i);
	close_real();
}

static void memory_by_kind(void)
{
	struct dax_memory_info memory = { .zero_bytes = 1 };
	struct dax_vma *private;

	open_real(RW_SHARED, DAX_PAGES_AUTO);
	private = fx_vma(0, PAGES, RW_PRIVATE, DAX_PAGES_PTE);
	EQ(dax_vma_memory(vma, &memory), 0);
	EQ(memory.zero_bytes + memory.data_bytes + memory.copy_bytes, 0);
	load_page(vma, PAGE);
	EQ(dax_vma_memory(vma, &memory), 0);
	EQ(memory.zero_bytes, PMD_PAGES * DAX_PAGE_SIZE);
	EQ(memory.data_bytes + memory.copy_bytes, 0);
	store_page(vma, PAGE, 'a');
	EQ(dax_vma_memory(vma, &memory), 0);
	EQ(memory.data_bytes, PMD_PAGES * DAX_PAGE_SIZE);
	EQ(memory.zero_bytes + memory.copy_bytes + memory.page_table_bytes, 0);
	load_page(private, PAGE);
	load_page(private, 0);
	store_page(private, 1, 'c');
	EQ(dax_vma_memory(private, &memory), 0);
	EQ(memory.zero_bytes, DAX_PAGE_SIZE);
	EQ(memory.copy_bytes, DAX_PAGE_SIZE);
	EQ(memory.data_bytes, DAX_PAGE_SIZE);
	dax_vma_put(private);
	close_real();
}

/* Chosen addresses are congruent to the offset; given ones need not be. */
static void address_colour(void)
{
	struct dax_vma *shifted;

	fx_open_real(PAGES);
	vma = fx_vma(7, PAGES - 7, RW_SHARED, DAX_PAGES_AUTO);
	EQ(((vma->vm_start >> DAX_PAGE_SHIFT) - 7) % PMD_PAGES, 0);
	EQ(dax_vma_fault(vma, PAGE, 0, NULL), DAX_VM_FAULT_NOPAGE);
	CHECK(leaf(PAGE) & LEAF_HUGE);
	shifted = fx_vma_at(DAX_PAGE_SIZE, 0, PAGES, RW_SHARED, DAX_PAGES_AUTO);
	EQ(shifted->vm_start, DAX_PAGE_SIZE);
	EQ(dax_vma_fault(shifted, 2 * PMD_PAGES, 0, NULL), DAX_VM_FAULT_NOPAGE);
	EQ(place(2 * PMD_PAGES).order, 0);
	EQ(count(DAX_STAT_FALLBACK + DAX_FALLBACK_COLOUR), 1);
	dax_vma_put(shifted);
	close_real();
}

static int try_vma(struct dax_vma_attr attr)
{
	struct dax_vma *made = NULL;
	int ret = dax_vma_new(&made, fx.file, &attr);

	if (!ret)
		dax_vma_put(made);
	return ret;
}

#define ATTR(...) (struct dax_vma_attr){ .struct_size = sizeof(struct dax_vma_attr), \
		.flags = RW_SHARED, .length = DAX_PAGE_SIZE, __VA_ARGS__ }

static void bad_attributes(void)
{
	fx_open_real(PAGES);
	EQ(try_vma(ATTR(.pages = DAX_PAGES_PMD)), 0);
	EQ(try_vma(ATTR(.offset = 1)), -EINVAL);
	EQ(try_vma(ATTR(.offset = -DAX_PAGE_SIZE)), -EINVAL);
	EQ(try_vma((struct dax_vma_attr){ .struct_size = 1 }), -EINVAL);
	EQ(try_vma(ATTR(.address = 5)), -EINVAL);
	EQ(try_vma(ATTR(.address = UINT64_C(1) << 48)), -EINVAL);
	EQ(try_vma(ATTR(.pages = DAX_PAGES_PMD + 1)), -EINVAL);
	vma = NULL;
	CHECK(!fx.file->i_mmap);
	EQ(fx.file->page_table_bytes, 0);
	fx_close();
}

static void new_without_memory(void)
{
	fx_open_real(PAGES);
	OOM_LOOP(n) {
		int ret;

		oom_fail_nth(n);
		ret = try_vma(ATTR(.offset = 0));
		oom_clear();
		if (!oom_fired()) {
			EQ(ret, 0);
			break;
		}
		EQ(ret, -ENOMEM);
		CHECK(!fx.file->i_mmap);
	}
	CHECK(oom_rounds() > 0);
	EQ(fx.file->page_table_bytes, 0);
	fx_close();
}

static struct dax_vma *to_drop;

static void drop_one(void)
{
	fx.map.on_begin = NULL;
	dax_vma_put(to_drop);
}

/* A block map drops a vma of its file inside of a fault, which holds the lock
 * that this takes: it goes with the next vma, or with the file. */
static void dropped_by_the_block_map(void)
{
	struct dax_vma *other;

	for (int with_file = 0; with_file < 2; with_file++) {
		fx_open(PAGES);
		other = fx_vma(0, PAGES, RW_SHARED, DAX_PAGES_PTE);
		to_drop = fx_vma(0, PAGES, RW_SHARED, DAX_PAGES_PTE);
		if (with_file)
			dax_mapping_get(fx.file);
		fx.map.on_begin = drop_one;
		EQ(dax_vma_fault(other, 3, 0, NULL), DAX_VM_FAULT_NOPAGE);
		EQ(dax_device_nr_files(fx.dev), 1);
		if (with_file) {
			dax_mapping_put(fx.file);
			EQ(fx.file->i_mmap == other, 1);
		}
		dax_vma_put(other);
		dax_mapping_put(fx.file);
		EQ(dax_device_nr_files(fx.dev), 0);
		dax_device_put(fx.dev);
	}
}

#define RUN(test) run(#test, test)

static void insertion(void)
{
	RUN(none_read);
	RUN(none_mkwrite);
	RUN(none_mkwrite_readonly_vma);
	RUN(same_pfn_read);
	RUN(same_pfn_read_of_writable);
	RUN(same_pfn_mkwrite);
	RUN(same_pfn_mkwrite_readonly_vma);
	RUN(other_pfn_read);
	RUN(other_pfn_mkwrite);
	RUN(zero_pfn_mkwrite);
	RUN(insert_outside);
	RUN(insert_without_memory);
	RUN(insert_under_huge_leaf);
	RUN(huge_none);
	RUN(huge_none_write);
	RUN(huge_none_write_readonly_vma);
	RUN(huge_same_read);
	RUN(huge_same_write);
	RUN(huge_other);
	RUN(huge_zero_write);
	RUN(huge_over_table);
	RUN(huge_without_memory);
	RUN(cow_over_none);
	RUN(cow_over_file_leaf);
	RUN(cow_over_copy);
	RUN(cow_under_huge_leaf);
}

static void removal(void)
{
	RUN(zap_range);
	RUN(zap_keeps_copies);
	RUN(zap_takes_copies);
	RUN(zap_of_part_of_a_huge_leaf);
	RUN(zap_of_nothing);
	RUN(split_drops_huge_leaf);
	RUN(split_leaves_tables);
	RUN(split_leaves_a_writable_leaf);
	RUN(mkclean_none);
	RUN(mkclean_zero);
	RUN(mkclean_writable);
	RUN(mkclean_dirty_only);
	RUN(mkclean_copy);
	RUN(mkclean_huge);
	RUN(mkclean_inside_huge);
	RUN(mkclean_range);
	RUN(mkclean_of_a_file);
}

static void accesses(void)
{
	RUN(borders_of_small_pages);
	RUN(borders_of_huge_pages);
	RUN(borders_of_private_pages);
	RUN(borders_of_a_gib);
	RUN(offsets_are_the_mappings);
	RUN(length_ends_inside_a_page);
	RUN(access_past_the_end);
	RUN(store_to_a_readonly_mapping);
	RUN(copies_are_private);
	RUN(private_shows_the_file);
	RUN(copies_survive_punch_not_truncate);
	RUN(dontneed_drops_copies);
	RUN(dontneed_keeps_the_file);
	RUN(pagemap);
	RUN(pagemap_of_huge_leaves);
	RUN(memory_by_kind);
	RUN(address_colour);
	RUN(bad_attributes);
	RUN(new_without_memory);
}

int main(void)
{
	plan(63);
	insertion();
	removal();
	accesses();
	RUN(dropped_by_the_block_map);
	return done();
}
