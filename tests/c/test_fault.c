/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_fault.c -- the fault path, row by row
 *
 * In the order of the tables: what happens to an entry and its leaves when it
 * gets another word; the 4 KiB fault; every exit of the 2 MiB fault, named
 * after its row; what the memory manager makes of them.
 */
#include "invariants.h"
#include "oom.h"
#include "step.h"
#include "stats.h"
#include "white_box.h"

enum {
	FILE_PAGES = 4 * PMD_PAGES,
	BASE = PMD_PAGES,
	INNER = PMD_PAGES + 188,
	NOPAGE = DAX_VM_FAULT_NOPAGE,
	SIGBUS_ = DAX_VM_FAULT_SIGBUS,
	FALLBACK = DAX_VM_FAULT_FALLBACK
};

static struct dax_vma *shared, *private;
static struct dax_vm_fault vmf;

static void set_up(void)
{
	fx_open(FILE_PAGES);
	shared = fx_vma(0, FILE_PAGES, RW_SHARED, DAX_PAGES_AUTO);
	private = fx_vma(0, FILE_PAGES, RW_PRIVATE, DAX_PAGES_AUTO);
}

static void tear_down(void)
{
	dax_test = (struct dax_test_hooks){ 0 };
	check_tree_and_leaves(fx.file);
	dax_vma_put(private);
	dax_vma_put(shared);
	fx_close();
}

/* One fault past the memory manager; vmf keeps what it said. */
static dax_vm_fault_t fault(struct dax_vma *vma, dax_pgoff_t pgoff, bool write,
			    unsigned int order)
{
	dax_vm_fault_t ret;

	vmf = fault_of(vma, pgoff, write, order, &ret);
	return ret;
}

static uint64_t leaf_flags(struct dax_vma *vma, dax_pgoff_t pgoff)
{
	return vma_soft_leaf(vma, pgoff) & LEAF_FLAGS;
}

static dax_pfn_t leaf_frame(struct dax_vma *vma, dax_pgoff_t pgoff)
{
	return vma_soft_leaf(vma, pgoff) >> DAX_PAGE_SHIFT;
}

/* ---- an entry gets another word ------------------------------------------------------ */

static unsigned int nr_zaps;
static dax_pgoff_t zapped;
static dax_entry_t word_at_zap;

static void record_zap(struct dax_vma *vma, dax_pgoff_t first, dax_pgoff_t last,
		       bool even_cows)
{
	(void)vma;
	CHECK(!even_cows);
	nr_zaps++;
	zapped = last - first + 1;
	word_at_zap = word_at(first);
}

static const struct dax_vm_ops recording = { .zap = record_zap };

struct row {
	dax_pfn_t old_pfn;
	unsigned int old_flags;
	unsigned int request;	/* order of the grab */
	dax_pfn_t pfn;
	unsigned int flags;
	bool write;
	/* what must come of it */
	dax_pgoff_t unmapped;	/* pages, 0: no call */
	dax_entry_t word;
	bool dirty;
};

static void insert_row(const struct row *row)
{
	struct dax_vma *vmas = fx.file->i_mmap;
	struct dax_vma recorder = { .vm_ops = &recording, .nr_pages = FILE_PAGES };
	dax_pgoff_t index = row->request ? BASE : INNER;
	struct dax_slot slot;

	nr_zaps = 0;
	enter();
	fx.file->i_mmap = &recorder;
	dax_slot_init(&slot, fx.file, fx.area, index);
	EQ(grab_mapping_entry(&slot, row->request), 0);
	vmf = make_vmf(shared, index, row->write);
	insert_mapping_entry(&vmf, &slot, row->pfn, row->flags);
	EQ(word_at(INNER), row->word | DAX_LOCKED);
	EQ(dax_from_slot(slot.iter.entry), row->word | DAX_LOCKED);
	put_locked_mapping_entry(&slot);
	fx.file->i_mmap = vmas;
	leave();
}

static void check_row(struct row row)
{
	dax_entry_t old;

	set_up();
	plant(row.old_flags & DAX_PMD ? BASE : INNER, row.old_pfn, row.old_flags);
	old = word_at(INNER);
	insert_row(&row);
	EQ(word_at(INNER), row.word);
	EQ(is_dirty(INNER), row.dirty);
	EQ(nr_zaps, row.unmapped != 0);
	if (row.unmapped) {
		EQ(zapped, row.unmapped);
		EQ(word_at_zap, old | DAX_LOCKED);	/* unmap before replace */
	}
	EQ(entries(), 1);
	tear_down();
}

enum { FRAME = 1 << 20, OTHER = 1 << 21 };	/* any frames: nobody looks */

static void empty_to_zero(void)
{
	check_row((struct row){ .old_flags = DAX_EMPTY, .flags = DAX_ZERO_PAGE,
				.word = word(0, DAX_ZERO_PAGE) });
}

static void empty_to_data_read(void)
{
	check_row((struct row){ .old_flags = DAX_EMPTY, .pfn = FRAME,
				.word = word(FRAME, 0) });
}

static void empty_to_data_write(void)
{
	check_row((struct row){ .old_flags = DAX_EMPTY, .pfn = FRAME, .write = true,
				.word = word(FRAME, 0), .dirty = true });
}

static void zero_to_zero(void)
{
	check_row((struct row){ .old_flags = DAX_ZERO_PAGE, .flags = DAX_ZERO_PAGE,
				.word = word(0, DAX_ZERO_PAGE) });
}

static void zero_to_data_write(void)
{
	check_row((struct row){ .old_flags = DAX_ZERO_PAGE, .pfn = FRAME,
				.write = true, .unmapped = 1,
				.word = word(FRAME, 0), .dirty = true });
}

static void zero_to_data_read(void)
{
	check_row((struct row){ .old_flags = DAX_ZERO_PAGE, .pfn = FRAME,
				.unmapped = 1, .word = word(FRAME, 0) });
}

static void data_to_data_read(void)
{
	check_row((struct row){ .old_pfn = FRAME, .pfn = OTHER,
				.word = word(FRAME, 0) });
}

static void data_to_data_write(void)
{
	check_row((struct row){ .old_pfn = FRAME, .pfn = OTHER, .write = true,
				.word = word(FRAME, 0), .dirty = true });
}

static void pmd_data_with_pte_read(void)
{
	check_row((struct row){ .old_pfn = FRAME, .old_flags = DAX_PMD,
				.pfn = FRAME + 188, .word = word(FRAME, DAX_PMD) });
}

static void pmd_data_with_pte_write(void)
{
	check_row((struct row){ .old_pfn = FRAME, .old_flags = DAX_PMD,
				.pfn = FRAME + 188, .write = true,
				.word = word(FRAME, DAX_PMD), .dirty = true });
}

static void pmd_empty_to_zero(void)
{
	check_row((struct row){ .old_flags = DAX_PMD | DAX_EMPTY, .request = 9,
				.flags = DAX_PMD | DAX_ZERO_PAGE,
				.word = word(0, DAX_PMD | DAX_ZERO_PAGE) });
}

static void pmd_empty_to_data_write(void)
{
	check_row((struct row){ .old_flags = DAX_PMD | DAX_EMPTY, .request = 9,
				.pfn = FRAME, .flags = DAX_PMD, .write = true,
				.word = word(FRAME, DAX_PMD), .dirty = true });
}

static void pmd_zero_to_data_write(void)
{
	check_row((struct row){ .old_flags = DAX_PMD | DAX_ZERO_PAGE, .request = 9,
				.pfn = FRAME, .flags = DAX_PMD, .write = true,
				.unmapped = PMD_PAGES, .word = word(FRAME, DAX_PMD),
				.dirty = true });
}

static void pmd_zero_to_data_read(void)
{
	check_row((struct row){ .old_flags = DAX_PMD | DAX_ZERO_PAGE, .request = 9,
				.pfn = FRAME, .flags = DAX_PMD,
				.unmapped = PMD_PAGES, .word = word(FRAME, DAX_PMD) });
}

static void pmd_data_to_data_write(void)
{
	check_row((struct row){ .old_pfn = FRAME, .old_flags = DAX_PMD, .request = 9,
				.pfn = FRAME, .flags = DAX_PMD, .write = true,
				.word = word(FRAME, DAX_PMD), .dirty = true });
}

/* ---- the 4 KiB fault --------------------------------------------------------------------- */

static void pte_past_end(void)
{
	set_up();
	EQ(dax_vma_fault(shared, FILE_PAGES - 1, 0, NULL), NOPAGE);
	MUST(!mapping_lock_exclusive(fx.file));
	fx.file->i_size = (FILE_PAGES - 1) << DAX_PAGE_SHIFT;
	mapping_unlock_exclusive(fx.file);
	fx.map.begins = fx.map.ends = 0;
	EQ(fault(shared, FILE_PAGES - 1, false, 0), SIGBUS_);
	EQ(vmf.error, -EFAULT);
	EQ(fx.map.begins, 0);
	EQ(count(DAX_STAT_FAULT_SIGBUS), 1);
	fx.file->i_size = FILE_PAGES << DAX_PAGE_SHIFT;
	tear_down();
}

/* Not a node: the tree is not touched. */
static void pte_zero_length_file(void)
{
	fx_open(0);
	shared = fx_vma(0, 1, RW_SHARED, DAX_PAGES_PTE);
	private = fx_vma(0, 1, RW_PRIVATE, DAX_PAGES_PTE);
	EQ(fault(shared, 0, false, 0), SIGBUS_);
	EQ(fault(shared, 0, true, 0), SIGBUS_);
	EQ(fault(private, 0, true, 0), SIGBUS_);
	EQ(radix_tree_bytes(&fx.file->i_pages), 0);
	EQ(fx.map.begins, 0);
	tear_down();
}

static void pte_last_page_partial(void)
{
	fx_file(DAX_PAGE_SIZE + 1, DAX_POLICY_ZERO_PAGE, &fx_ops);
	shared = fx_vma(0, 3, RW_SHARED, DAX_PAGES_PTE);
	private = fx_vma(0, 3, RW_PRIVATE, DAX_PAGES_PTE);
	EQ(fault(shared, 1, false, 0), NOPAGE);
	EQ(fault(shared, 2, false, 0), SIGBUS_);
	tear_down();
}

static void pte_request_flags(void)
{
	set_up();
	EQ(fault(shared, 0, false, 0), NOPAGE);
	EQ(fx.map.flags, DAX_IOMAP_FAULT);
	EQ(fault(private, 1, true, 0), DAX_VM_FAULT_DONE_COW);
	EQ(fx.map.flags, DAX_IOMAP_FAULT);
	fx_answer(DAX_IOMAP_MAPPED, 0, 0);
	EQ(fault(shared, 2, true, 0), NOPAGE);
	EQ(fx.map.flags, DAX_IOMAP_FAULT | DAX_IOMAP_WRITE);
	EQ(fx.map.pos, 2 * DAX_PAGE_SIZE);
	EQ(fx.map.length, DAX_PAGE_SIZE);
	tear_down();
}

static char a_page[64] __aligned(64);

static void pte_grab_eio(void)
{
	struct radix_tree_iter iter;

	set_up();
	MUST(!radix_tree_insert(&fx.file->i_pages, 3, 0, a_page, &iter));
	EQ(fault(shared, 3, false, 0), SIGBUS_);
	EQ(vmf.error, -EIO);
	EQ(fx.map.begins, 0);
	EQ(dax_vma_fault(shared, 3, 0, NULL), SIGBUS_);
	overwrite(3, 0);
	tear_down();
}

static void pte_grab_enomem(void)
{
	set_up();
	enter();
	leave();
	oom_fail_nth(1);
	EQ(fault(shared, 3, false, 0), DAX_VM_FAULT_OOM);
	oom_clear();
	CHECK(oom_fired());
	EQ(vmf.error, -ENOMEM);
	EQ(fx.map.begins, 0);
	EQ(entries(), 0);
	EQ(count(DAX_STAT_FAULT_OOM), 1);
	tear_down();
}

/* A PMD fault won: its leaf stands there, the block map is not asked. */
static void pte_finds_huge_leaf(void)
{
	set_up();
	fx_answer(DAX_IOMAP_MAPPED, 0, 0);
	EQ(fault(shared, INNER, false, DAX_PMD_ORDER), NOPAGE);
	fx.map.begins = fx.map.ends = 0;
	EQ(fault(shared, INNER, false, 0), NOPAGE);
	EQ(fault(shared, INNER, true, 0), NOPAGE);
	EQ(fx.map.begins, 0);
	CHECK(leaf_flags(shared, INNER) & LEAF_HUGE);
	tear_down();
}

/* What a failing block map leaves: an unlocked EMPTY entry. */
static void check_iomap_error(int error, dax_vm_fault_t expected, int reported)
{
	set_up();
	fx.map.error = error;
	EQ(fault(shared, 3, true, 0), expected);
	EQ(vmf.error, reported);
	EQ(word_at(3), word(0, DAX_EMPTY));
	EQ(fx.map.ends, 0);
	EQ(vma_soft_leaf(shared, 3), 0);
	tear_down();
}

static void pte_iomap_error(void)
{
	check_iomap_error(-ENOSPC, SIGBUS_, -ENOSPC);
	check_iomap_error(-EIO, SIGBUS_, -EIO);
	check_iomap_error(-ENOMEM, DAX_VM_FAULT_OOM, -ENOMEM);
	check_iomap_error(1, SIGBUS_, -EIO);	/* not an error, not success */
}

static void check_extent_refused(dax_loff_t offset, uint64_t length)
{
	set_up();
	fx.map.answer.offset = offset;
	fx.map.answer.length = length;
	EQ(fault(shared, 3, false, 0), SIGBUS_);
	EQ(vmf.error, -EIO);
	EQ(fx.map.ends, 1);
	EQ(fx.map.written, 0);
	EQ(word_at(3), word(0, DAX_EMPTY));
	tear_down();
}

static void pte_extent_elsewhere(void)
{
	check_extent_refused(4 * DAX_PAGE_SIZE, DAX_PAGE_SIZE);	/* behind */
	check_extent_refused(0, 3 * DAX_PAGE_SIZE);		/* before */
	check_extent_refused(3 * DAX_PAGE_SIZE, 0);
	check_extent_refused(3 * DAX_PAGE_SIZE, UINT64_MAX);
}

static void check_cow(unsigned int type, int byte)
{
	char got = 'x';

	set_up();
	memset(fx.dev->window + 5 * DAX_PAGE_SIZE, 'd', DAX_PAGE_SIZE);
	fx_answer(type, 0, 0);
	EQ(fault(private, 5, true, 0), DAX_VM_FAULT_DONE_COW);
	EQ(word_at(5), word(0, DAX_EMPTY));
	CHECK(!is_dirty(5));
	EQ(leaf_flags(private, 5), LEAF_PRESENT | LEAF_WRITE | LEAF_DIRTY |
	   LEAF_YOUNG | LEAF_ANON);
	EQ(dax_vma_read(private, &got, 1, 5 * DAX_PAGE_SIZE + 77, NULL), 1);
	EQ(got, byte);
	EQ(count(DAX_STAT_COW_FAULT), 1);
	EQ(fx.map.written, DAX_PAGE_SIZE);
	EQ(fx.file->cow_bytes, DAX_PAGE_SIZE);
	tear_down();
}

static void cow_of_hole(void)
{
	check_cow(DAX_IOMAP_HOLE, 0);
}

static void cow_of_unwritten(void)
{
	check_cow(DAX_IOMAP_UNWRITTEN, 0);
}

static void cow_of_mapped(void)
{
	check_cow(DAX_IOMAP_MAPPED, 'd');
}

/* NEW belongs to the block map's answer to a write: a copy is none. */
static void cow_is_never_major(void)
{
	set_up();
	fx_answer(DAX_IOMAP_MAPPED, 0, DAX_IOMAP_F_NEW);
	EQ(fault(private, 5, true, 0), DAX_VM_FAULT_DONE_COW);
	tear_down();
}

static void cow_of_unknown(void)
{
	set_up();
	fx_answer(7, 0, 0);
	EQ(fault(private, 5, true, 0), SIGBUS_);
	EQ(vmf.error, -EIO);
	EQ(fx.map.written, 0);
	EQ(fx.file->cow_bytes, 0);
	tear_down();
}

/* What stood in the tree stays: here a zero entry, whose leaf gives way. */
static void cow_over_zero_page(void)
{
	set_up();
	EQ(fault(private, 5, false, 0), NOPAGE);
	EQ(leaf_frame(private, 5), DAX_ZERO_PFN);
	EQ(fault(private, 5, true, 0), DAX_VM_FAULT_DONE_COW);
	EQ(word_at(5), word(0, DAX_ZERO_PAGE));
	CHECK(leaf_flags(private, 5) & LEAF_ANON);
	tear_down();
}

static void cow_twice(void)
{
	set_up();
	EQ(fault(private, 5, true, 0), DAX_VM_FAULT_DONE_COW);
	EQ(fault(private, 5, true, 0), NOPAGE);	/* the CPU finds the copy */
	EQ(fx.file->cow_bytes, DAX_PAGE_SIZE);
	tear_down();
}

static void cow_from_dead_device(void)
{
	set_up();
	fx_answer(DAX_IOMAP_MAPPED, 0, 0);
	EQ(dax_device_kill(fx.dev), 0);
	EQ(fault(private, 5, true, 0), SIGBUS_);
	EQ(vmf.error, -ENXIO);
	EQ(fx.file->cow_bytes, 0);
	tear_down();
}

static void cow_without_memory(void)
{
	set_up();
	EQ(fault(private, 4, false, 0), NOPAGE);	/* node and table are there */
	oom_fail_nth(1);
	EQ(fault(private, 5, true, 0), DAX_VM_FAULT_OOM);
	oom_clear();
	CHECK(oom_fired());
	EQ(word_at(5), word(0, DAX_EMPTY));
	EQ(fx.map.written, 0);
	tear_down();
}

static void pte_mapped_read(void)
{
	set_up();
	fx_answer(DAX_IOMAP_MAPPED, 0, 0);
	EQ(fault(shared, 3, false, 0), NOPAGE);
	EQ(word_at(3), word(device_pfn(3), 0));
	CHECK(!is_dirty(3));
	EQ(vma_soft_leaf(shared, 3), device_pfn(3) << DAX_PAGE_SHIFT | LEAF_PRESENT);
	EQ(count(DAX_STAT_INSERT_MAPPING), 1);
	EQ(count(DAX_STAT_MAJOR_FAULT), 0);
	EQ(fx.map.written, DAX_PAGE_SIZE);
	tear_down();
}

/* One fault makes it dirty, young and writable at once. */
static void pte_mapped_write(void)
{
	set_up();
	fx_answer(DAX_IOMAP_MAPPED, 0, 0);
	EQ(fault(shared, 3, true, 0), NOPAGE);
	EQ(word_at(3), word(device_pfn(3), 0));
	CHECK(is_dirty(3));
	EQ(leaf_flags(shared, 3), LEAF_PRESENT | LEAF_WRITE | LEAF_DIRTY | LEAF_YOUNG);
	EQ(count(DAX_STAT_PTE_FAULT), 1);
	tear_down();
}

static void pte_major_only_if_new(void)
{
	set_up();
	fx_answer(DAX_IOMAP_MAPPED, 0, DAX_IOMAP_F_NEW);
	EQ(fault(shared, 3, true, 0), NOPAGE | DAX_VM_FAULT_MAJOR);
	EQ(count(DAX_STAT_MAJOR_FAULT), 1);
	fx_answer(DAX_IOMAP_MAPPED, 0, DAX_IOMAP_F_DIRTY | DAX_IOMAP_F_SHARED);
	EQ(fault(shared, 4, true, 0), NOPAGE);
	fx_answer(DAX_IOMAP_HOLE, 0, DAX_IOMAP_F_NEW);
	EQ(fault(shared, 5, false, 0), NOPAGE);
	EQ(count(DAX_STAT_MAJOR_FAULT), 1);
	tear_down();
}

static void pte_leaf_there_already(void)
{
	set_up();
	fx_answer(DAX_IOMAP_MAPPED, 0, 0);
	EQ(fault(shared, 3, false, 0), NOPAGE);
	EQ(fault(shared, 3, false, 0), NOPAGE);	/* -EBUSY below is success */
	EQ(vmf.error, 0);
	EQ(fx.map.written, DAX_PAGE_SIZE);
	tear_down();
}

static void pte_upgrade_keeps_frame(void)
{
	set_up();
	fx_answer(DAX_IOMAP_MAPPED, 0, 0);
	EQ(fault(shared, 3, false, 0), NOPAGE);
	EQ(fault(shared, 3, true, 0), NOPAGE);
	EQ(leaf_frame(shared, 3), device_pfn(3));
	CHECK(leaf_flags(shared, 3) & LEAF_WRITE);
	CHECK(is_dirty(3));
	tear_down();
}

static void check_mapped_error(uint64_t addr, bool write, int error)
{
	fx_answer(DAX_IOMAP_MAPPED, addr, 0);
	EQ(fault(shared, 3, write, 0), SIGBUS_);
	EQ(vmf.error, error);
	EQ(word_at(3), word(0, DAX_EMPTY));
	CHECK(!is_dirty(3));
	EQ(vma_soft_leaf(shared, 3), 0);
	EQ(fx.map.written, 0);
}

static void pte_mapped_errors(void)
{
	set_up();
	check_mapped_error(512, false, -EINVAL);
	check_mapped_error(fx.dev->size, false, -ERANGE);
	fx.dev->readonly = true;
	check_mapped_error(0, true, -EROFS);
	fx.dev->readonly = false;
	EQ(dax_device_kill(fx.dev), 0);
	check_mapped_error(0, false, -ENXIO);
	tear_down();
}

static void check_hole_read(unsigned int type)
{
	set_up();
	fx_answer(type, 0, 0);
	EQ(fault(shared, 3, false, 0), NOPAGE);
	EQ(word_at(3), 0x12);
	CHECK(!is_dirty(3));
	EQ(vma_soft_leaf(shared, 3), DAX_ZERO_PFN << DAX_PAGE_SHIFT | LEAF_PRESENT);
	EQ(count(DAX_STAT_LOAD_HOLE), 1);
	EQ(fx.map.written, DAX_PAGE_SIZE);
	tear_down();
}

static void pte_hole_read(void)
{
	check_hole_read(DAX_IOMAP_HOLE);
}

static void pte_unwritten_read(void)
{
	check_hole_read(DAX_IOMAP_UNWRITTEN);
}

static void check_answer_refused(unsigned int type, bool write)
{
	set_up();
	fx_answer(type, 0, 0);
	EQ(fault(shared, 3, write, 0), SIGBUS_);
	EQ(vmf.error, -EIO);
	EQ(word_at(3), word(0, DAX_EMPTY));
	EQ(fx.map.ends, 1);
	EQ(fx.map.written, 0);
	tear_down();
}

static void pte_hole_under_write(void)
{
	check_answer_refused(DAX_IOMAP_HOLE, true);
	check_answer_refused(DAX_IOMAP_UNWRITTEN, true);
}

static void pte_unknown_type(void)
{
	check_answer_refused(1, false);
	check_answer_refused(4, true);
	check_answer_refused(UINT16_MAX, false);
}

/* A second mapping faults by itself; both show the one zero frame. */
static void pte_hole_in_two_mappings(void)
{
	set_up();
	EQ(fault(shared, 3, false, 0), NOPAGE);
	EQ(fault(private, 3, false, 0), NOPAGE);
	EQ(leaf_frame(private, 3), DAX_ZERO_PFN);
	EQ(entries(), 1);
	tear_down();
}

/* ---- leaf insertion fails: W1 --------------------------------------------------------------- */

static bool fail_tables(size_t size)
{
	return size == DAX_PAGE_SIZE;	/* page tables are of this size, nodes not */
}

static void check_leaf_enomem(unsigned int type, bool write, unsigned int order,
			      dax_entry_t left)
{
	set_up();
	fx_answer(type, 0, 0);
	dax_test.fail_alloc = fail_tables;
	EQ(fault(shared, INNER, write, order), DAX_VM_FAULT_OOM);
	dax_test.fail_alloc = NULL;
	EQ(vmf.error, -ENOMEM);
	EQ(fx.map.written, 0);
	EQ(word_at(INNER), left);
	tear_down();
}

static void hole_leaf_enomem(void)
{
	check_leaf_enomem(DAX_IOMAP_HOLE, false, 0, 0x12);
}

static void mapped_leaf_enomem(void)
{
	set_up();
	fx_answer(DAX_IOMAP_MAPPED, 0, 0);
	dax_test.fail_alloc = fail_tables;
	EQ(fault(shared, 3, true, 0), DAX_VM_FAULT_OOM);
	dax_test.fail_alloc = NULL;
	EQ(fx.map.written, 0);
	EQ(word_at(3), word(device_pfn(3), 0));
	tear_down();
}

static void pmd_mapped_leaf_enomem(void)
{
	set_up();
	fx_answer(DAX_IOMAP_MAPPED, 0, 0);
	dax_test.fail_alloc = fail_tables;
	EQ(fault(shared, INNER, false, DAX_PMD_ORDER), DAX_VM_FAULT_OOM);
	dax_test.fail_alloc = NULL;
	EQ(fx.map.written, 0);
	tear_down();
}

/* W10: no zero entry for a leaf that found no place. */
static void pmd_hole_leaf_enomem(void)
{
	set_up();
	dax_test.fail_alloc = fail_tables;
	EQ(fault(shared, INNER, false, DAX_PMD_ORDER), FALLBACK);
	dax_test.fail_alloc = NULL;
	EQ(word_at(INNER), 0x2a);
	EQ(fx.map.written, 0);
	tear_down();
}

/* Tables come before anything changes where the memory manager is asked. */
static void tables_first(void)
{
	struct dax_fault_info info;

	set_up();
	fx_answer(DAX_IOMAP_MAPPED, 0, 0);
	dax_test.fail_alloc = fail_tables;
	EQ(dax_vma_fault(shared, INNER, 1, &info), DAX_VM_FAULT_OOM);
	dax_test.fail_alloc = NULL;
	EQ(info.error, -ENOMEM);
	EQ(fx.map.begins, 0);
	EQ(entries(), 0);
	tear_down();
}

/* ---- the 2 MiB fault, exit by exit ------------------------------------------------------------ */

/* It fell back for @reason, and left @entry in the tree, unlocked. */
static void check_fallback(struct dax_vma *vma, dax_pgoff_t pgoff, bool write,
			   int reason, dax_entry_t entry)
{
	uint64_t fallbacks = count(DAX_STAT_PMD_FAULT_FALLBACK);
	uint64_t of_reason = count(DAX_STAT_FALLBACK + (unsigned int)reason);

	EQ(fault(vma, pgoff, write, DAX_PMD_ORDER), FALLBACK);
	EQ(vmf.reason, reason);
	EQ(word_at(pgoff), entry);
	EQ(count(DAX_STAT_PMD_FAULT_FALLBACK), fallbacks + 1);
	EQ(count(DAX_STAT_FALLBACK + (unsigned int)reason), of_reason + 1);
	EQ(fx.map.begins, fx.map.ends);
	if (fx.map.ends)
		EQ(fx.map.written, 0);
}

static const dax_entry_t pmd_empty = 0x2a;

static void f1_colour(void)
{
	struct dax_vma *odd;

	set_up();
	odd = fx_vma_at((UINT64_C(1) << 30) + DAX_PAGE_SIZE, 0, FILE_PAGES, RW_SHARED,
			DAX_PAGES_AUTO);
	check_fallback(odd, INNER, false, DAX_FALLBACK_COLOUR, 0);
	EQ(fx.map.begins, 0);
	dax_vma_put(odd);
	tear_down();
}

/* Tests come in order: past the end, a wrong colour is still a fallback. */
static void f1_before_s1(void)
{
	struct dax_vma *odd;

	set_up();
	odd = fx_vma_at((UINT64_C(1) << 30) + DAX_PAGE_SIZE, 0, 2 * FILE_PAGES,
			RW_SHARED, DAX_PAGES_AUTO);
	check_fallback(odd, FILE_PAGES + 5, false, DAX_FALLBACK_COLOUR, 0);
	EQ(dax_vma_fault(odd, FILE_PAGES + 5, 0, NULL), SIGBUS_);
	dax_vma_put(odd);
	tear_down();
}

static void f2_cow(void)
{
	set_up();
	check_fallback(private, INNER, true, DAX_FALLBACK_COW, 0);
	EQ(fault(private, INNER, false, DAX_PMD_ORDER), NOPAGE);
	tear_down();
}

static void f3_vma_start(void)
{
	struct dax_vma *late;

	set_up();
	late = fx_vma(BASE + 10, PMD_PAGES, RW_SHARED, DAX_PAGES_AUTO);
	check_fallback(late, INNER, false, DAX_FALLBACK_VMA_START, 0);
	dax_vma_put(late);
	tear_down();
}

static void f4_vma_end(void)
{
	struct dax_vma *small;

	set_up();
	small = fx_vma(0, 2 * PMD_PAGES - 1, RW_SHARED, DAX_PAGES_AUTO);
	check_fallback(small, INNER, false, DAX_FALLBACK_VMA_END, 0);
	EQ(fault(small, 7, false, DAX_PMD_ORDER), NOPAGE);
	dax_vma_put(small);
	tear_down();
}

static void s1_past_end(void)
{
	struct dax_vma *large;

	set_up();
	large = fx_vma(0, 2 * FILE_PAGES, RW_SHARED, DAX_PAGES_AUTO);
	EQ(fault(large, FILE_PAGES + 3, false, DAX_PMD_ORDER), SIGBUS_);
	EQ(vmf.error, -EFAULT);
	EQ(entries(), 0);
	EQ(count(DAX_STAT_PMD_FAULT_FALLBACK), 0);
	EQ(count(DAX_STAT_FAULT_SIGBUS), 1);
	dax_vma_put(large);
	tear_down();
}

/* B16b: nothing underflows where there is not one page. */
static void s1_zero_length_file(void)
{
	fx_open(0);
	shared = fx_vma(0, PMD_PAGES, RW_SHARED, DAX_PAGES_AUTO);
	private = fx_vma(0, PMD_PAGES, RW_PRIVATE, DAX_PAGES_AUTO);
	EQ(fault(shared, 0, false, DAX_PMD_ORDER), SIGBUS_);
	EQ(fault(shared, 511, true, DAX_PMD_ORDER), SIGBUS_);
	EQ(dax_vma_fault(shared, 0, 0, NULL), SIGBUS_);
	EQ(entries(), 0);
	tear_down();
}

static void f5_eof(void)
{
	fx_open(2 * PMD_PAGES - 1);
	shared = fx_vma(0, 2 * PMD_PAGES, RW_SHARED, DAX_PAGES_AUTO);
	private = fx_vma(0, 2 * PMD_PAGES, RW_PRIVATE, DAX_PAGES_AUTO);
	check_fallback(shared, INNER, false, DAX_FALLBACK_EOF, 0);
	EQ(fault(shared, 7, false, DAX_PMD_ORDER), NOPAGE);
	tear_down();
}

/* A fault past the end is not in the way of 2 MiB when the file has grown. */
static void f5_grown(void)
{
	fx_open(PMD_PAGES);
	shared = fx_vma(0, PMD_PAGES, RW_SHARED, DAX_PAGES_AUTO);
	private = fx_vma(0, PMD_PAGES, RW_PRIVATE, DAX_PAGES_AUTO);
	fx.file->i_size = DAX_PAGE_SIZE;
	EQ(dax_vma_fault(shared, 7, 0, NULL), SIGBUS_);
	EQ(dax_vma_fault(shared, 7, 1, NULL), SIGBUS_);
	EQ(count(DAX_STAT_PMD_FAULT), 2);
	fx.file->i_size = DAX_PMD_SIZE;
	EQ(dax_vma_fault(shared, 7, 0, NULL), NOPAGE);
	EQ(count(DAX_STAT_PMD_LOAD_HOLE), 1);
	tear_down();
}

/* The last page counts though only one byte of it is the file's. */
static void f5_partial_page_is_inside(void)
{
	fx_file(DAX_PMD_SIZE - DAX_PAGE_SIZE + 1, DAX_POLICY_ZERO_PAGE, &fx_ops);
	shared = fx_vma(0, PMD_PAGES, RW_SHARED, DAX_PAGES_AUTO);
	private = fx_vma(0, PMD_PAGES, RW_PRIVATE, DAX_PAGES_AUTO);
	EQ(fault(shared, 7, false, DAX_PMD_ORDER), NOPAGE);
	tear_down();
}

static void f6_entry_exists(void)
{
	set_up();
	plant(INNER, 0, DAX_ZERO_PAGE);
	check_fallback(shared, INNER, false, DAX_FALLBACK_ENTRY_EXISTS, 0x12);
	EQ(fx.map.begins, 0);
	tear_down();
}

static void f6_entry_nomem(void)
{
	set_up();
	enter();
	leave();
	oom_fail_nth(1);
	check_fallback(shared, INNER, false, DAX_FALLBACK_ENTRY_NOMEM, 0);
	oom_clear();
	CHECK(oom_fired());
	tear_down();
}

static void f6_entry_eio(void)
{
	struct radix_tree_iter iter;

	set_up();
	MUST(!radix_tree_insert(&fx.file->i_pages, BASE, DAX_PMD_ORDER, a_page, &iter));
	check_fallback(shared, INNER, false, DAX_FALLBACK_ENTRY_EIO,
		       dax_from_slot(a_page));
	overwrite(BASE, 0);
	tear_down();
}

/* Somebody's 4 KiB table stands in the way: the CPU is to look again. */
static void r1_table_there(void)
{
	set_up();
	enter();
	vmf = make_vmf(shared, INNER, false);
	EQ(shared->vm_ops->pte_alloc(&vmf), 0);
	leave();
	EQ(fault(shared, INNER, false, DAX_PMD_ORDER), 0);
	EQ(fx.map.begins, 0);
	EQ(word_at(INNER), pmd_empty);
	EQ(count(DAX_STAT_PMD_FAULT_FALLBACK), 0);
	tear_down();
}

static void check_f7(int error)
{
	set_up();
	fx.map.error = error;
	check_fallback(shared, INNER, true, DAX_FALLBACK_IOMAP_ERROR, pmd_empty);
	tear_down();
}

static void f7_iomap_error(void)
{
	check_f7(-ENOSPC);
	check_f7(-ENOMEM);
	check_f7(-EIO);
}

static void f7_extent_elsewhere(void)
{
	set_up();
	fx.map.answer.length = DAX_PMD_SIZE;	/* ends where it was asked for */
	check_fallback(shared, INNER, false, DAX_FALLBACK_IOMAP_ERROR, pmd_empty);
	EQ(fx.map.ends, 1);
	tear_down();
}

static void f8_short_extent(void)
{
	set_up();
	fx_answer(DAX_IOMAP_MAPPED, 0, 0);
	fx.map.answer.length = 2 * DAX_PMD_SIZE - DAX_PAGE_SIZE;
	check_fallback(shared, INNER, false, DAX_FALLBACK_SHORT_EXTENT, pmd_empty);
	fx.map.answer.type = DAX_IOMAP_HOLE;
	check_fallback(shared, INNER, false, DAX_FALLBACK_SHORT_EXTENT, pmd_empty);
	fx.map.answer.length = 2 * DAX_PMD_SIZE;	/* just long enough */
	EQ(fault(shared, INNER, false, DAX_PMD_ORDER), NOPAGE);
	tear_down();
}

static void check_f9(uint64_t addr, bool write, int reason)
{
	fx_answer(DAX_IOMAP_MAPPED, addr, 0);
	check_fallback(shared, INNER, write, reason, pmd_empty);
	CHECK(!is_dirty(INNER));
}

static void f9a_unaligned_block(void)
{
	set_up();
	check_f9(512, false, DAX_FALLBACK_UNALIGNED_BLOCK);
	tear_down();
}

static void f9b_direct_access(void)
{
	set_up();
	check_f9(fx.dev->size, false, DAX_FALLBACK_DIRECT_ACCESS);
	EQ(dax_device_kill(fx.dev), 0);
	check_f9(0, false, DAX_FALLBACK_DIRECT_ACCESS);
	tear_down();
}

static void f9c_short_access(void)
{
	set_up();
	check_f9(fx.dev->size - DAX_PMD_SIZE - DAX_PAGE_SIZE, false,
		 DAX_FALLBACK_SHORT_ACCESS);
	tear_down();
}

static void f9d_unaligned_pfn(void)
{
	set_up();
	check_f9(DAX_PAGE_SIZE, false, DAX_FALLBACK_UNALIGNED_PFN);
	fx.dev->pfn_base++;
	check_f9(0, false, DAX_FALLBACK_UNALIGNED_PFN);
	fx.dev->pfn_base--;
	tear_down();
}

static void f9e_foreign_pfn(void)
{
	dax_pfn_t pfn_base;

	set_up();
	pfn_base = fx.dev->pfn_base;
	fx.dev->pfn_base = 0;
	check_f9(0, false, DAX_FALLBACK_FOREIGN_PFN);
	fx.dev->pfn_base = DAX_PFN_HOST;
	check_f9(0, false, DAX_FALLBACK_FOREIGN_PFN);
	fx.dev->pfn_base = pfn_base;
	tear_down();
}

static void f9f_insert_mapping(void)
{
	set_up();
	fx.dev->readonly = true;
	check_f9(0, true, DAX_FALLBACK_INSERT_MAPPING);
	fx.dev->readonly = false;
	tear_down();
}

static void f10a_no_huge_zero(void)
{
	set_up();
	dax_test.no_huge_zero = true;
	check_fallback(shared, INNER, false, DAX_FALLBACK_NO_HUGE_ZERO, pmd_empty);
	tear_down();
}

/* The block map says hole where the tree has a block. */
static void f10b_insert_hole(void)
{
	dax_entry_t data;

	set_up();
	data = word(device_pfn(PMD_PAGES), DAX_PMD);
	plant(BASE, device_pfn(PMD_PAGES), DAX_PMD);
	check_fallback(shared, INNER, false, DAX_FALLBACK_INSERT_HOLE, data);
	tear_down();
}

/* The same by 4 KiB: no zero page is mapped beside a data entry. */
static void hole_over_a_data_entry(void)
{
	struct dax_fault_info info = { 0 };

	set_up();
	plant(INNER, device_pfn(3), 0);
	EQ(dax_vma_fault(shared, INNER, 0, &info) & DAX_VM_FAULT_SIGBUS,
	   DAX_VM_FAULT_SIGBUS);
	EQ(info.error, -EIO);
	EQ(vma_soft_leaf(shared, INNER), 0);
	tear_down();
}

/* Another fault puts a table there while the block map is asked. */
static void put_table(enum dax_test_point point)
{
	struct dax_vm_fault other;

	if (point != DAX_TEST_AFTER_IOMAP)
		return;
	other = make_vmf(shared, INNER, false);
	EQ(shared->vm_ops->pte_alloc(&other), 0);
}

/* W10: and no zero entry stays behind. */
static void f10c_pmd_occupied(void)
{
	set_up();
	dax_test.yield = put_table;
	check_fallback(shared, INNER, false, DAX_FALLBACK_PMD_OCCUPIED, pmd_empty);
	dax_test.yield = NULL;
	EQ(dax_vma_fault(shared, INNER, 0, NULL), NOPAGE);
	EQ(word_at(INNER), 0x12);
	EQ(word_at(BASE), 0);
	EQ(count(DAX_STAT_DOWNGRADE), 1);
	tear_down();
}

static void f11_hole_write(void)
{
	set_up();
	check_fallback(shared, INNER, true, DAX_FALLBACK_HOLE_WRITE, pmd_empty);
	fx_answer(DAX_IOMAP_UNWRITTEN, 0, 0);
	check_fallback(shared, INNER, true, DAX_FALLBACK_HOLE_WRITE, pmd_empty);
	tear_down();
}

static void f12_unknown_type(void)
{
	set_up();
	fx_answer(1, 0, 0);
	check_fallback(shared, INNER, false, DAX_FALLBACK_UNKNOWN_TYPE, pmd_empty);
	check_fallback(shared, INNER, true, DAX_FALLBACK_UNKNOWN_TYPE, pmd_empty);
	tear_down();
}

static void other_sizes(void)
{
	set_up();
	EQ(fault(shared, 0, false, DAX_PUD_ORDER), FALLBACK);
	EQ(vmf.reason, DAX_FALLBACK_SIZE);
	EQ(fault(shared, 0, false, 3), FALLBACK);
	EQ(entries(), 0);
	tear_down();
}

static void ok_mapped_read(void)
{
	set_up();
	fx_answer(DAX_IOMAP_MAPPED, 0, 0);
	EQ(fault(shared, INNER, false, DAX_PMD_ORDER), NOPAGE);
	EQ(word_at(INNER), word(device_pfn(BASE), DAX_PMD));
	CHECK(!is_dirty(INNER));
	EQ(vma_soft_leaf(shared, INNER),
	   device_pfn(BASE) << DAX_PAGE_SHIFT | LEAF_PRESENT | LEAF_HUGE);
	EQ(fx.map.pos, DAX_PMD_SIZE);
	EQ(fx.map.length, DAX_PMD_SIZE);
	EQ(fx.map.flags, DAX_IOMAP_FAULT);
	EQ(fx.map.written, DAX_PMD_SIZE);
	EQ(count(DAX_STAT_PMD_INSERT_MAPPING), 1);
	tear_down();
}

static void ok_mapped_write(void)
{
	set_up();
	fx_answer(DAX_IOMAP_MAPPED, 0, DAX_IOMAP_F_NEW);
	EQ(fault(shared, INNER, true, DAX_PMD_ORDER), NOPAGE | DAX_VM_FAULT_MAJOR);
	CHECK(is_dirty(BASE));
	EQ(leaf_flags(shared, INNER), LEAF_PRESENT | LEAF_WRITE | LEAF_DIRTY |
	   LEAF_YOUNG | LEAF_HUGE);
	EQ(fx.map.flags, DAX_IOMAP_FAULT | DAX_IOMAP_WRITE);
	tear_down();
}

static void ok_upgrade(void)
{
	set_up();
	fx_answer(DAX_IOMAP_MAPPED, 0, 0);
	EQ(fault(shared, INNER, false, DAX_PMD_ORDER), NOPAGE);
	EQ(fault(shared, INNER, true, DAX_PMD_ORDER), NOPAGE);
	CHECK(leaf_flags(shared, INNER) & LEAF_WRITE);
	CHECK(is_dirty(INNER));
	tear_down();
}

static void check_ok_hole(unsigned int type)
{
	set_up();
	fx_answer(type, 0, 0);
	EQ(fault(shared, INNER, false, DAX_PMD_ORDER), NOPAGE);
	EQ(word_at(BASE), 0x1a);
	EQ(word_at(BASE + 511), 0x1a);
	EQ(entries(), 1);
	EQ(vma_soft_leaf(shared, INNER), (uint64_t)DAX_HUGE_ZERO_PFN << DAX_PAGE_SHIFT |
	   LEAF_PRESENT | LEAF_HUGE);
	EQ(count(DAX_STAT_PMD_LOAD_HOLE), 1);
	EQ(fx.map.written, DAX_PMD_SIZE);
	tear_down();
}

static void ok_hole(void)
{
	check_ok_hole(DAX_IOMAP_HOLE);
}

static void ok_unwritten(void)
{
	check_ok_hole(DAX_IOMAP_UNWRITTEN);
}

static void ok_twin_was_first(void)
{
	set_up();
	EQ(fault(shared, INNER, false, DAX_PMD_ORDER), NOPAGE);
	fx.map.begins = fx.map.ends = 0;
	EQ(fault(shared, INNER + 1, false, DAX_PMD_ORDER), NOPAGE);
	EQ(fx.map.begins, 0);
	tear_down();
}

/* The block appeared: a write takes the huge zero page away everywhere. */
static void ok_write_over_huge_zero(void)
{
	set_up();
	EQ(fault(shared, INNER, false, DAX_PMD_ORDER), NOPAGE);
	EQ(fault(private, INNER, false, DAX_PMD_ORDER), NOPAGE);
	fx_answer(DAX_IOMAP_MAPPED, 0, DAX_IOMAP_F_NEW);
	EQ(fault(shared, INNER, true, DAX_PMD_ORDER), NOPAGE | DAX_VM_FAULT_MAJOR);
	EQ(word_at(INNER), word(device_pfn(BASE), DAX_PMD));
	EQ(leaf_frame(shared, INNER), device_pfn(BASE));
	EQ(vma_soft_leaf(private, INNER), 0);
	tear_down();
}

static void fallback_splits_huge_leaf(void)
{
	set_up();
	EQ(fault(shared, INNER, false, DAX_PMD_ORDER), NOPAGE);
	check_fallback(shared, INNER, true, DAX_FALLBACK_HOLE_WRITE, 0x1a);
	EQ(vma_soft_leaf(shared, INNER), 0);
	tear_down();
}

/* ---- the memory manager ------------------------------------------------------------------------- */

static void mm_falls_back_to_pte(void)
{
	struct dax_fault_info info;

	set_up();
	fx.map.answer.length = 2 * DAX_PMD_SIZE - 1;
	EQ(dax_vma_fault(shared, INNER, 0, &info), NOPAGE);
	EQ(info.reason, DAX_FALLBACK_SHORT_EXTENT);
	EQ(count(DAX_STAT_PMD_FAULT), 1);
	EQ(count(DAX_STAT_PTE_FAULT), 1);
	EQ(word_at(INNER), 0x12);
	EQ(entries(), 1);
	tear_down();
}

static void mm_pmd_only_reports(void)
{
	struct dax_vma *huge;

	set_up();
	huge = fx_vma(0, FILE_PAGES, RW_SHARED, DAX_PAGES_PMD);
	fx.map.error = -ENOSPC;
	EQ(dax_vma_fault(huge, INNER, 1, NULL), FALLBACK);
	EQ(count(DAX_STAT_PTE_FAULT), 0);
	fx.map.error = 0;
	EQ(dax_vma_fault(huge, INNER, 0, NULL), NOPAGE);
	dax_vma_put(huge);
	tear_down();
}

static void mm_pte_only(void)
{
	struct dax_vma *small;

	set_up();
	small = fx_vma(0, FILE_PAGES, RW_SHARED, DAX_PAGES_PTE);
	EQ(dax_vma_fault(small, INNER, 0, NULL), NOPAGE);
	EQ(count(DAX_STAT_PMD_FAULT), 0);
	EQ(word_at(INNER), 0x12);
	dax_vma_put(small);
	tear_down();
}

/* Another mapping has the range as 4 KiB: PTE entries win, here too. */
static void mm_pte_entry_anywhere(void)
{
	struct dax_fault_info info;

	set_up();
	plant(BASE + 511, 0, DAX_ZERO_PAGE);
	EQ(dax_vma_fault(shared, BASE, 0, &info), NOPAGE);
	EQ(info.reason, DAX_FALLBACK_ENTRY_EXISTS);
	EQ(word_at(BASE), 0x12);
	EQ(leaf_flags(shared, BASE), LEAF_PRESENT);
	tear_down();
}

/* A small vma shows a PMD data entry by 4 KiB leaves; it stays one entry. */
static void mm_small_vma_over_pmd_data(void)
{
	struct dax_vma *small;

	set_up();
	fx_answer(DAX_IOMAP_MAPPED, 0, 0);
	EQ(dax_vma_fault(shared, INNER, 0, NULL), NOPAGE);
	small = fx_vma(INNER, 2, RW_SHARED, DAX_PAGES_AUTO);
	EQ(dax_vma_fault(small, INNER, 1, NULL), NOPAGE);
	EQ(word_at(BASE), word(device_pfn(BASE), DAX_PMD));
	CHECK(is_dirty(BASE));
	EQ(leaf_frame(small, INNER), device_pfn(INNER));
	EQ(entries(), 1);
	dax_vma_put(small);
	tear_down();
}

/* Even a read takes a huge zero entry apart if it comes by 4 KiB. */
static void mm_small_vma_over_pmd_zero(void)
{
	struct dax_vma *small;

	set_up();
	EQ(dax_vma_fault(shared, INNER, 0, NULL), NOPAGE);
	small = fx_vma(INNER, 2, RW_SHARED, DAX_PAGES_AUTO);
	EQ(dax_vma_fault(small, INNER, 0, NULL), NOPAGE);
	EQ(word_at(INNER), 0x12);
	EQ(word_at(BASE), 0);
	EQ(vma_soft_leaf(shared, INNER), 0);
	EQ(entries(), 1);
	dax_vma_put(small);
	tear_down();
}

/* ---- no memory, at every place in turn ------------------------------------------------------------ */

struct state {
	uint64_t entries;	/* EMPTY ones left out: they may stay */
	uint64_t allocated;
	uint64_t cow;
	dax_loff_t size;
};

static struct state state(void)
{
	uint64_t values[DAX_NR_STATS + DAX_NR_GAUGES];
	struct state s = { .size = dax_mapping_size(fx.file) };
	struct dax_entry_info rows[64];
	dax_pgoff_t index = 0;
	int64_t nr;

	while ((nr = dax_mapping_entries(fx.file, &index, rows, 64)) > 0)
		for (int64_t i = 0; i < nr; i++)
			s.entries += !rows[i].empty;
	dax_mapping_stats(fx.file, values, DAX_NR_STATS + DAX_NR_GAUGES);
	s.allocated = values[DAX_NR_STATS + DAX_GAUGE_ALLOCATED_BYTES];
	s.cow = values[DAX_NR_STATS + DAX_GAUGE_COW_BYTES];
	return s;
}

static void set_up_real(void)
{
	fx_open_real(FILE_PAGES);
	shared = fx_vma(0, FILE_PAGES, RW_SHARED, DAX_PAGES_AUTO);
	private = fx_vma(0, FILE_PAGES, RW_PRIVATE, DAX_PAGES_AUTO);
}

/* A failed call changed nothing.  It may also have found another way. */
static int fail_nth(unsigned int n, int (*operation)(void), bool all_or_nothing)
{
	struct state before, after;
	int ret;

	set_up_real();
	before = state();
	oom_fail_nth(n);
	ret = operation();
	oom_clear();
	after = state();
	if (ret && all_or_nothing)
		CHECK(!memcmp(&before, &after, sizeof(before)));
	check_invariants(fx.file);
	if (oom_fired())
		EQ(operation(), 0);	/* and it works once there is memory */
	check_invariants(fx.file);
	tear_down();
	return ret;
}

/* @operation returns 0 if it succeeded. */
static void check_every_allocation(int (*operation)(void), bool all_or_nothing)
{
	OOM_LOOP(n) {
		int ret = fail_nth(n, operation, all_or_nothing);

		if (!oom_fired()) {
			EQ(ret, 0);
			break;
		}
	}
	CHECK(oom_rounds() > 0);
}

static int failed(int fault_bits)
{
	return fault_bits < 0 || fault_bits & DAX_VM_FAULT_ERROR;
}

static int read_hole(void)
{
	return failed(dax_vma_fault(shared, INNER, 0, NULL));
}

static int write_hole(void)
{
	return failed(dax_vma_fault(shared, INNER, 1, NULL));
}

static int write_copy(void)
{
	return failed(dax_vma_fault(private, INNER, 1, NULL));
}

static int store_bytes(void)
{
	return dax_vma_write(shared, "0123456789", 10, DAX_PMD_SIZE - 5, NULL) != 10;
}

static int write_file(void)
{
	return dax_mapping_pwrite(fx.file, "0123456789", 10, DAX_PMD_SIZE - 5) != 10;
}

static void oom_read_hole(void)
{
	check_every_allocation(read_hole, true);
}

static void oom_write_hole(void)
{
	check_every_allocation(write_hole, true);
}

static void oom_write_copy(void)
{
	check_every_allocation(write_copy, true);
}

static int one_page_vma(int write)
{
	struct dax_vma *small = NULL;
	struct dax_vma_attr attr = {
		.struct_size = sizeof(attr), .flags = RW_SHARED,
		.offset = (dax_loff_t)INNER << DAX_PAGE_SHIFT, .length = DAX_PAGE_SIZE,
	};
	int ret = dax_vma_new(&small, fx.file, &attr);

	if (!ret) {
		ret = failed(dax_vma_fault(small, INNER, write, NULL));
		dax_vma_put(small);
	}
	return ret;
}

static int read_through_new_vma(void)
{
	return one_page_vma(0);
}

static int write_through_new_vma(void)
{
	return one_page_vma(1);
}

static void oom_new_vma_read(void)
{
	check_every_allocation(read_through_new_vma, true);
}

static void oom_new_vma_write(void)
{
	check_every_allocation(write_through_new_vma, true);
}

/* These stop half way and say how far they came. */
static void oom_store(void)
{
	check_every_allocation(store_bytes, false);
}

static void oom_pwrite(void)
{
	check_every_allocation(write_file, false);
}

#define RUN(test) run(#test, test)

static void insert_table(void)
{
	RUN(empty_to_zero);
	RUN(empty_to_data_read);
	RUN(empty_to_data_write);
	RUN(zero_to_zero);
	RUN(zero_to_data_write);
	RUN(zero_to_data_read);
	RUN(data_to_data_read);
	RUN(data_to_data_write);
	RUN(pmd_data_with_pte_read);
	RUN(pmd_data_with_pte_write);
	RUN(pmd_empty_to_zero);
	RUN(pmd_empty_to_data_write);
	RUN(pmd_zero_to_data_write);
	RUN(pmd_zero_to_data_read);
	RUN(pmd_data_to_data_write);
}

static void pte_path(void)
{
	RUN(pte_past_end);
	RUN(pte_zero_length_file);
	RUN(pte_last_page_partial);
	RUN(pte_request_flags);
	RUN(pte_grab_eio);
	RUN(pte_grab_enomem);
	RUN(pte_finds_huge_leaf);
	RUN(pte_iomap_error);
	RUN(pte_extent_elsewhere);
	RUN(pte_mapped_read);
	RUN(pte_mapped_write);
	RUN(pte_major_only_if_new);
	RUN(pte_leaf_there_already);
	RUN(pte_upgrade_keeps_frame);
	RUN(pte_mapped_errors);
	RUN(pte_hole_read);
	RUN(pte_unwritten_read);
	RUN(pte_hole_under_write);
	RUN(pte_unknown_type);
	RUN(pte_hole_in_two_mappings);
}

static void cow_path(void)
{
	RUN(cow_of_hole);
	RUN(cow_of_unwritten);
	RUN(cow_of_mapped);
	RUN(cow_is_never_major);
	RUN(cow_of_unknown);
	RUN(cow_over_zero_page);
	RUN(cow_twice);
	RUN(cow_from_dead_device);
	RUN(cow_without_memory);
}

static void leaf_failures(void)
{
	RUN(hole_leaf_enomem);
	RUN(mapped_leaf_enomem);
	RUN(pmd_mapped_leaf_enomem);
	RUN(pmd_hole_leaf_enomem);
	RUN(tables_first);
}

static void pmd_exits(void)
{
	RUN(f1_colour);
	RUN(f1_before_s1);
	RUN(f2_cow);
	RUN(f3_vma_start);
	RUN(f4_vma_end);
	RUN(s1_past_end);
	RUN(s1_zero_length_file);
	RUN(f5_eof);
	RUN(f5_grown);
	RUN(f5_partial_page_is_inside);
	RUN(f6_entry_exists);
	RUN(f6_entry_nomem);
	RUN(f6_entry_eio);
	RUN(r1_table_there);
	RUN(f7_iomap_error);
	RUN(f7_extent_elsewhere);
	RUN(f8_short_extent);
	RUN(f9a_unaligned_block);
	RUN(f9b_direct_access);
	RUN(f9c_short_access);
	RUN(f9d_unaligned_pfn);
	RUN(f9e_foreign_pfn);
	RUN(f9f_insert_mapping);
	RUN(f10a_no_huge_zero);
	RUN(f10b_insert_hole);
	RUN(hole_over_a_data_entry);
	RUN(f10c_pmd_occupied);
	RUN(f11_hole_write);
	RUN(f12_unknown_type);
	RUN(other_sizes);
	RUN(ok_mapped_read);
	RUN(ok_mapped_write);
	RUN(ok_upgrade);
	RUN(ok_hole);
	RUN(ok_unwritten);
	RUN(ok_twin_was_first);
	RUN(ok_write_over_huge_zero);
	RUN(fallback_splits_huge_leaf);
}

static void memory_manager(void)
{
	RUN(mm_falls_back_to_pte);
	RUN(mm_pmd_only_reports);
	RUN(mm_pte_only);
	RUN(mm_pte_entry_anywhere);
	RUN(mm_small_vma_over_pmd_data);
	RUN(mm_small_vma_over_pmd_zero);
}

static void no_memory(void)
{
	RUN(oom_read_hole);
	RUN(oom_write_hole);
	RUN(oom_write_copy);
	RUN(oom_new_vma_read);
	RUN(oom_new_vma_write);
	RUN(oom_store);
	RUN(oom_pwrite);
}

int main(void)
{
	plan(100);
	insert_table();
	pte_path();
	cow_path();
	leaf_failures();
	pmd_exits();
	memory_manager();
	no_memory();
	return done();
}
