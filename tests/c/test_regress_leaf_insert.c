/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_regress_leaf_insert.c -- leaves over leaves, leaves that find no room,
 * and pages at the end of the world
 *
 * Faults the kernel had here:
 *
 *   store_over_a_live_leaf	making a leaf writable replaced it, and lost its
 *				other bits
 *   ignored_insertion_failure	a hole's leaf could not be inserted, and the
 *				fault said it was
 *   extreme_offsets		offset + length overflowed
 */
#include "invariants.h"
#include "oom.h"
#include "white_box.h"

enum { PAGES = 4 * PMD_PAGES, PAGE = PMD_PAGES + 3, BITS = LEAF_FLAGS };

static struct dax_vma *vma;
static struct dax_vm_fault vmf;

static void set_up(void)
{
	fx_open(PAGES);
	vma = fx_vma(0, PAGES, RW_SHARED, DAX_PAGES_AUTO);
}

static void tear_down(void)
{
	dax_test = (struct dax_test_hooks){ 0 };
	check_tree_and_leaves(fx.file);
	dax_vma_put(vma);
	fx_close();
}

/* ---- a leaf is there ------------------------------------------------------------------ */

/* Read, then write: the frame stays, every bit stays, flags are added. */
static void store_over_a_live_leaf(void)
{
	uint64_t before, after;

	set_up();
	fx_answer(DAX_IOMAP_MAPPED, 0, 0);
	EQ(dax_vma_fault(vma, PAGE, 0, NULL), DAX_VM_FAULT_NOPAGE);
	vma->vm_ops->split_huge_pmd(vma, PAGE);
	enter();
	vmf = make_vmf(vma, PAGE, true);
	EQ(vma->vm_ops->pte_alloc(&vmf), 0);
	EQ(vma->vm_ops->insert_mixed(&vmf, device_pfn(PAGE), false), 0);
	atomic_fetch_or(vmf.pte, LEAF_YOUNG);
	before = vma_soft_leaf(vma, PAGE);
	radix_tree_tag_set(&(struct radix_tree_iter){ .node = place(PAGE).node,
						      .slot = place(PAGE).slot },
			   DAX_PAGECACHE_TAG_DIRTY);
	EQ(vma->vm_ops->insert_mixed(&vmf, device_pfn(PAGE), true), 0);
	after = vma_soft_leaf(vma, PAGE);
	leave();
	EQ(after, before | LEAF_WRITE | LEAF_DIRTY | LEAF_YOUNG);
	tear_down();
}

/* Another frame: untouched, whoever asks. */
static void another_frame_is_left(void)
{
	uint64_t before;

	set_up();
	fx_answer(DAX_IOMAP_MAPPED, 0, 0);
	EQ(dax_vma_fault(vma, PAGE, 0, NULL), DAX_VM_FAULT_NOPAGE);
	vma->vm_ops->split_huge_pmd(vma, PAGE);
	enter();
	vmf = make_vmf(vma, PAGE, true);
	EQ(vma->vm_ops->insert_mixed(&vmf, device_pfn(PAGE), false), 0);
	before = vma_soft_leaf(vma, PAGE);
	EQ(vma->vm_ops->insert_mixed(&vmf, device_pfn(PAGE + 1), true), -EBUSY);
	EQ(vma->vm_ops->insert_mixed(&vmf, DAX_ZERO_PFN, false), -EBUSY);
	EQ(vma_soft_leaf(vma, PAGE), before);
	leave();
	tear_down();
}

/* ---- no room for a leaf ------------------------------------------------------------------ */

static bool fail_tables(size_t size)
{
	return size == DAX_PAGE_SIZE;
}

/* Past the memory manager, which would make the tables first. */
static void check_failure(unsigned int type, bool write, unsigned int order,
			  dax_vm_fault_t expected)
{
	dax_vm_fault_t ret;

	set_up();
	fx_answer(type, 0, 0);
	dax_test.fail_alloc = fail_tables;
	vmf = fault_of(vma, PAGE, write, order, &ret);
	dax_test.fail_alloc = NULL;
	EQ(ret, expected);
	EQ(fx.map.written, 0);		/* iomap_end knows, too */
	EQ(vma_soft_leaf(vma, PAGE), 0);
	CHECK(!(word_at(PAGE) & DAX_LOCKED));
	tear_down();
}

static void ignored_insertion_failure(void)
{
	check_failure(DAX_IOMAP_HOLE, false, 0, DAX_VM_FAULT_OOM);
	check_failure(DAX_IOMAP_UNWRITTEN, false, 0, DAX_VM_FAULT_OOM);
	check_failure(DAX_IOMAP_MAPPED, false, 0, DAX_VM_FAULT_OOM);
	check_failure(DAX_IOMAP_MAPPED, true, 0, DAX_VM_FAULT_OOM);
}

static void ignored_huge_insertion_failure(void)
{
	check_failure(DAX_IOMAP_HOLE, false, DAX_PMD_ORDER, DAX_VM_FAULT_FALLBACK);
	check_failure(DAX_IOMAP_MAPPED, false, DAX_PMD_ORDER, DAX_VM_FAULT_OOM);
	check_failure(DAX_IOMAP_MAPPED, true, DAX_PMD_ORDER, DAX_VM_FAULT_OOM);
}

/* ---- the end of the world ---------------------------------------------------------------------- */

static const dax_loff_t last_byte = DAX_MAX_SIZE - 1;

static void open_largest(void)
{
	fx_file(DAX_MAX_SIZE, DAX_POLICY_ZERO_PAGE, NULL);
}

static void extreme_pread(void)
{
	char buf[16] = "xxxxxxxxxxxxxxx";

	open_largest();
	EQ(dax_mapping_pread(fx.file, buf, 16, last_byte), 1);
	EQ(buf[0], 0);
	EQ(buf[1], 'x');
	EQ(dax_mapping_pread(fx.file, buf, 16, DAX_MAX_SIZE), 0);
	EQ(dax_mapping_pread(fx.file, buf, 16, INT64_MAX), 0);
	EQ(dax_mapping_pread(fx.file, buf, 16, -1), -EINVAL);
	EQ(dax_mapping_pread(fx.file, buf, 16, INT64_MIN), -EINVAL);
	fx_close();
}

static void extreme_pwrite(void)
{
	char byte = 0;

	open_largest();
	EQ(dax_mapping_pwrite(fx.file, "z", 1, last_byte), 1);
	EQ(dax_mapping_pread(fx.file, &byte, 1, last_byte), 1);
	EQ(byte, 'z');
	EQ(dax_mapping_pwrite(fx.file, "zz", 2, last_byte), -EFBIG);
	EQ(dax_mapping_pwrite(fx.file, "z", 1, DAX_MAX_SIZE), -EFBIG);
	EQ(dax_mapping_pwrite(fx.file, "z", 1, INT64_MAX), -EFBIG);
	EQ(dax_mapping_pwrite(fx.file, "z", SIZE_MAX, 0), -EFBIG);
	EQ(dax_mapping_pwrite(fx.file, "z", SIZE_MAX, last_byte), -EFBIG);
	EQ(dax_mapping_pwrite(fx.file, "z", 1, -1), -EINVAL);
	EQ(dax_mapping_size(fx.file), DAX_MAX_SIZE);
	check_invariants(fx.file);
	fx_close();
}

static void extreme_sizes(void)
{
	fx_open_real(1);
	EQ(dax_mapping_truncate(fx.file, DAX_MAX_SIZE), 0);
	EQ(dax_mapping_truncate(fx.file, DAX_MAX_SIZE + 1), -EFBIG);
	EQ(dax_mapping_truncate(fx.file, INT64_MAX), -EFBIG);
	EQ(dax_mapping_truncate(fx.file, -1), -EINVAL);
	EQ(dax_mapping_truncate(fx.file, INT64_MIN), -EINVAL);
	EQ(dax_mapping_fallocate(fx.file, last_byte, 2), -EFBIG);
	EQ(dax_mapping_fallocate(fx.file, 0, UINT64_MAX), -EFBIG);
	EQ(dax_mapping_fallocate(fx.file, last_byte, 1), 0);
	EQ(dax_mapping_punch_hole(fx.file, last_byte, 2), -EFBIG);
	EQ(dax_mapping_punch_hole(fx.file, 0, UINT64_MAX), -EFBIG);
	EQ(dax_mapping_punch_hole(fx.file, 0, DAX_MAX_SIZE), 0);
	EQ(dax_mapping_size(fx.file), DAX_MAX_SIZE);
	check_invariants(fx.file);
	fx_close();
}

/* Mappings of the last pages: 4 KiB and 2 MiB faults find their bounds. */
static void extreme_faults(void)
{
	dax_pgoff_t last = (dax_pgoff_t)last_byte >> DAX_PAGE_SHIFT;
	dax_pgoff_t first = radix_tree_canonical(last, DAX_PMD_ORDER) - PMD_PAGES;
	struct dax_fault_info info;

	open_largest();
	vma = fx_vma(first, last - first + 1, RW_SHARED, DAX_PAGES_AUTO);
	EQ(dax_vma_fault(vma, last, 0, &info), DAX_VM_FAULT_NOPAGE);
	EQ(info.reason, DAX_FALLBACK_VMA_END);
	EQ(word_at(last), 0x12);
	EQ(dax_vma_fault(vma, last, 1, NULL), DAX_VM_FAULT_NOPAGE | DAX_VM_FAULT_MAJOR);
	EQ(dax_vma_fault(vma, first, 0, &info), DAX_VM_FAULT_NOPAGE);
	EQ(place(first).order, DAX_PMD_ORDER);
	EQ(dax_vma_fault(vma, last + 1, 0, NULL), -EFAULT);
	EQ(dax_vma_fault(vma, UINT64_MAX, 0, NULL), -EFAULT);
	EQ(dax_vma_fault_range(vma, last, UINT64_MAX, 0, NULL, 0, NULL), -EFAULT);
	EQ(dax_vma_fault_range(vma, last, 2, 0, NULL, 0, NULL), -EFAULT);
	check_invariants(fx.file);
	dax_vma_put(vma);
	fx_close();
}

static int map_at(dax_loff_t offset, uint64_t length)
{
	struct dax_vma_attr attr = { .struct_size = sizeof(attr), .flags = RW_SHARED,
				     .offset = offset, .length = length };
	int ret = dax_vma_new(&vma, fx.file, &attr);

	if (!ret)
		dax_vma_put(vma);
	return ret;
}

static void extreme_mappings(void)
{
	open_largest();
	EQ(map_at(DAX_MAX_SIZE - DAX_PAGE_SIZE + 1 - 1, 1), 0);
	CHECK(map_at(DAX_MAX_SIZE, DAX_PAGE_SIZE) < 0);
	CHECK(map_at(DAX_MAX_SIZE - DAX_PAGE_SIZE, UINT64_MAX) < 0);
	CHECK(map_at(0, UINT64_MAX) < 0);
	CHECK(map_at(INT64_MAX, 1) < 0);
	CHECK(map_at(-DAX_PAGE_SIZE, DAX_PAGE_SIZE) < 0);
	CHECK(map_at(INT64_MIN, DAX_PAGE_SIZE) < 0);
	CHECK(!fx.file->i_mmap);
	fx_close();
}

static void extreme_accesses(void)
{
	char buf[16];

	open_largest();
	vma = fx_vma(0, 2, RW_SHARED, DAX_PAGES_AUTO);
	EQ(dax_vma_read(vma, buf, 16, UINT64_MAX, NULL), -EFAULT);
	EQ(dax_vma_read(vma, buf, SIZE_MAX, 1, NULL), -EFAULT);
	EQ(dax_vma_write(vma, buf, 16, UINT64_MAX - 8, NULL), -EFAULT);
	EQ(dax_vma_dontneed(vma, UINT64_MAX - DAX_PAGE_SIZE + 1, DAX_PAGE_SIZE), -EFAULT);
	EQ(dax_vma_dontneed(vma, DAX_PAGE_SIZE, UINT64_MAX), -EFAULT);
	dax_vma_put(vma);
	fx_close();
}

#define RUN(test) run(#test, test)

int main(void)
{
	plan(10);
	RUN(store_over_a_live_leaf);
	RUN(another_frame_is_left);
	RUN(ignored_insertion_failure);
	RUN(ignored_huge_insertion_failure);
	RUN(extreme_pread);
	RUN(extreme_pwrite);
	RUN(extreme_sizes);
	RUN(extreme_faults);
	RUN(extreme_mappings);
	RUN(extreme_accesses);
	return done();
}
