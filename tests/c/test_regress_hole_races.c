/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_regress_hole_races.c -- two faults, or a fault and a write, on one hole
 *
 * Faults the kernel had here, forced step by step:
 *
 *   two_writers_of_one_hole	both write-fault a hole; the loser zeroed the
 *				new block over the winner's store
 *   entry_locks_do_not_nest	the first cure took two locks in either order
 *   hole_after_block		a read fault asked the block map, then a write
 *				fault got a block, then the reader put the hole
 *   insert_during_prealloc	somebody inserted an entry while another
 *				thread was allocating nodes for it
 *   stale_read_after_write	a fault asked the block map before it had the
 *				entry lock, and write(2) came in between: the
 *				zero page stayed mapped over data
 *   zero_leaf_without_entry	write(2) removed the entry of a hole before its
 *				leaf: a write fault then met a zero leaf that
 *				no entry explained
 */
#include "invalidate.h"
#include "invariants.h"
#include "step.h"
#include "white_box.h"

enum { PAGES = 4 * PMD_PAGES, PAGE = PMD_PAGES + 3 };

static struct dax_vma *small, *other, *huge, *copies;

static void set_up(void)
{
	fx_open_real(PAGES);
	small = fx_vma(0, PAGES, RW_SHARED, DAX_PAGES_PTE);
	other = fx_vma(0, PAGES, RW_SHARED, DAX_PAGES_PTE);
	huge = fx_vma(0, PAGES, RW_SHARED, DAX_PAGES_AUTO);
	copies = fx_vma(0, PAGES, RW_PRIVATE, DAX_PAGES_PTE);
	dax_test = (struct dax_test_hooks){ .yield = step_yield, .no_spin = true };
}

static void tear_down(void)
{
	dax_test = (struct dax_test_hooks){ 0 };
	check_invariants(fx.file);
	dax_vma_put(copies);
	dax_vma_put(huge);
	dax_vma_put(other);
	dax_vma_put(small);
	fx_close();
}

/* ---- what the threads do: one access each -------------------------------------------- */

struct access {
	struct step step;
	struct dax_vma *vma;	/* NULL: pread, pwrite */
	uint64_t pos;
	char byte;		/* 0: load */
	char got;
	ssize_t ret;
};

static void access_body(void *arg)
{
	struct access *a = arg;

	if (!a->vma)
		a->ret = dax_mapping_pwrite(fx.file, &a->byte, 1, (dax_loff_t)a->pos);
	else if (a->byte)
		a->ret = dax_vma_write(a->vma, &a->byte, 1, a->pos, NULL);
	else
		a->ret = dax_vma_read(a->vma, &a->got, 1, a->pos, NULL);
}

static struct access at(struct dax_vma *vma, dax_pgoff_t page, unsigned int offset,
			char byte)
{
	return (struct access){ .vma = vma, .byte = byte, .got = 'x',
				.pos = (page << DAX_PAGE_SHIFT) + offset };
}

/* Stopped at @point. */
static void begin(struct access *a, int point)
{
	step_start(&a->step, access_body, a, point);
	CHECK(step_parked(&a->step));
}

/* Asleep for an entry. */
static void begin_asleep(struct access *a)
{
	step_start_asleep(&a->step, access_body, a, STEP_NOWHERE);
}

static void finish(struct access *a)
{
	step_go(&a->step, STEP_NOWHERE);
	step_join(&a->step);
	EQ(a->ret, 1);
}

static void join(struct access *a)
{
	step_join(&a->step);
	EQ(a->ret, 1);
}

static char load(struct dax_vma *vma, dax_pgoff_t page, unsigned int offset)
{
	char byte = 'x';

	EQ(dax_vma_read(vma, &byte, 1, (page << DAX_PAGE_SHIFT) + offset, NULL), 1);
	return byte;
}

/* ---- two writers ------------------------------------------------------------------------ */

/* A stands at @point of its write fault, B waits for A's entry; A stores and
 * only then B goes through its fault and stores. */
static void two_writers(struct dax_vma *first, struct dax_vma *second, int point)
{
	struct access a = at(first, PAGE, 1, 'a'), b = at(second, PAGE, 2, 'b');

	begin(&a, point);
	begin_asleep(&b);
	finish(&a);
	join(&b);
	EQ(load(small, PAGE, 1), 'a');
	EQ(load(small, PAGE, 2), 'b');
	EQ(count(DAX_STAT_MAJOR_FAULT), 1);
}

static void two_writers_of_one_hole(void)
{
	static const int points[] = {
		DAX_TEST_AFTER_GRAB, DAX_TEST_AFTER_IOMAP, DAX_TEST_UNMAP_REPLACE,
		DAX_TEST_TREE_REPLACED, DAX_TEST_BEFORE_UNLOCK,
	};

	for (unsigned int i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
		set_up();
		two_writers(small, other, points[i]);
		tear_down();
		if (points[i] == DAX_TEST_BEFORE_UNLOCK)
			continue;	/* the leaf is there: B need not fault */
		set_up();
		two_writers(small, small, points[i]);
		tear_down();
	}
}

static void two_writers_of_a_huge_hole(void)
{
	set_up();
	two_writers(huge, other, DAX_TEST_AFTER_IOMAP);
	EQ(place(PAGE).order, DAX_PMD_ORDER);
	tear_down();
}

/* A mapped zero page first, so that both must take it away. */
static void two_writers_over_a_zero_page(void)
{
	set_up();
	EQ(load(small, PAGE, 0), 0);
	EQ(load(other, PAGE, 0), 0);
	two_writers(small, other, DAX_TEST_UNMAP_REPLACE);
	tear_down();
}

/* ---- lock order ---------------------------------------------------------------------------- */

static void truncate_body(void *arg)
{
	(void)arg;
	EQ(dax_mapping_truncate(fx.file, (PAGES - 1) << DAX_PAGE_SHIFT), 0);
}

/* While one fault holds its entry at @point, others go through on other pages;
 * then a truncate waits for it, a further fault for the truncate. */
static void others_pass(struct dax_vma *vma, char byte, int point)
{
	struct access a = at(vma, PAGE, 0, byte), late = at(other, 9, 0, 'l');
	struct step truncate;

	begin(&a, point);
	EQ(load(other, PAGE + 1, 0), 0);
	EQ(dax_vma_write(small, "w", 1, (PAGE + 2) << DAX_PAGE_SHIFT, NULL), 1);
	EQ(dax_vma_write(copies, "c", 1, (PAGE + 4) << DAX_PAGE_SHIFT, NULL), 1);
	step_start(&truncate, truncate_body, NULL, STEP_NOWHERE);
	while (READ_ONCE(fx.file->invalidate_lock.state) != PERCPU_RWSEM_WRITER)
		sched_yield();
	step_start(&late.step, access_body, &late, STEP_NOWHERE);
	CHECK(!step_finished(&truncate));
	finish(&a);
	step_join(&truncate);
	join(&late);
	EQ(dax_mapping_size(fx.file), (PAGES - 1) << DAX_PAGE_SHIFT);
}

static void entry_locks_do_not_nest(void)
{
	static const int points[] = {
		DAX_TEST_AFTER_GRAB, DAX_TEST_AFTER_IOMAP, DAX_TEST_BEFORE_UNLOCK,
	};

	for (int i = 0; i < 3; i++) {
		set_up();
		others_pass(small, 'a', points[i]);
		tear_down();
		set_up();
		others_pass(copies, 'a', points[i]);	/* the copy path as well */
		tear_down();
		set_up();
		others_pass(small, 0, points[i]);
		tear_down();
	}
}

/* ---- hole after block ------------------------------------------------------------------------ */

/* The reader has been told "hole" and stands still; the writer must wait, and
 * what it does afterwards must be what everybody sees. */
static void hole_after_block(void)
{
	struct access reader, writer;

	set_up();
	reader = at(small, PAGE, 5, 0);
	writer = at(other, PAGE, 5, 'w');
	begin(&reader, DAX_TEST_AFTER_IOMAP);
	begin_asleep(&writer);
	CHECK(!step_finished(&writer.step));
	finish(&reader);
	CHECK(reader.got == 0 || reader.got == 'w');
	join(&writer);
	EQ(load(small, PAGE, 5), 'w');
	EQ(load(other, PAGE, 5), 'w');
	CHECK(dax_is_data_entry(dax_to_slot(word_at(PAGE))));
	CHECK(is_dirty(PAGE));
	tear_down();
}

static void block_before_hole(void)
{
	struct access reader, writer;

	set_up();
	reader = at(small, PAGE, 5, 0);
	writer = at(other, PAGE, 5, 'w');
	begin(&writer, DAX_TEST_AFTER_IOMAP);
	begin_asleep(&reader);
	finish(&writer);
	join(&reader);
	EQ(load(small, PAGE, 5), 'w');
	CHECK(dax_is_data_entry(dax_to_slot(word_at(PAGE))));
	tear_down();
}

/* A private copy of a hole is under the same lock. */
static void copy_of_hole_against_writer(void)
{
	struct access copier, writer;

	set_up();
	copier = at(copies, PAGE, 5, 'c');
	writer = at(other, PAGE, 6, 'w');
	begin(&copier, DAX_TEST_AFTER_IOMAP);
	begin_asleep(&writer);
	finish(&copier);
	join(&writer);
	EQ(load(copies, PAGE, 5), 'c');
	EQ(load(copies, PAGE, 6), 0);	/* a copy of before the write */
	EQ(load(small, PAGE, 6), 'w');
	EQ(load(small, PAGE, 5), 0);
	tear_down();
}

/* The same by 2 MiB: the reader's huge zero page gives way. */
static void huge_hole_after_block(void)
{
	struct access reader, writer;

	set_up();
	reader = at(huge, PAGE, 5, 0);
	writer = at(other, PAGE, 5, 'w');
	begin(&reader, DAX_TEST_AFTER_IOMAP);
	begin_asleep(&writer);
	finish(&reader);
	join(&writer);
	EQ(load(huge, PAGE, 5), 'w');
	EQ(count(DAX_STAT_DOWNGRADE), 1);
	tear_down();
}

/* ---- an entry comes in during preallocation ----------------------------------------------------- */

/* A has nodes for its 4 KiB entry in hand; B's whole fault comes first. */
static void check_prealloc(struct dax_vma *first, struct dax_vma *second,
			   char byte, dax_pgoff_t page)
{
	struct access a = at(first, PAGE, 0, 'a'), b = at(second, page, 9, byte);

	begin(&a, DAX_TEST_GRAB_PREALLOC);
	access_body(&b);
	EQ(b.ret, 1);
	finish(&a);
	EQ(load(small, PAGE, 0), 'a');
	EQ(load(small, page, 9), byte);
	EQ(load(huge, PAGE, 0), 'a');
}

static void insert_during_prealloc(void)
{
	set_up();
	check_prealloc(small, other, 'b', PAGE);	/* the same page */
	tear_down();
	set_up();
	check_prealloc(small, other, 'b', PAGE + 1);	/* its neighbour */
	tear_down();
	set_up();
	check_prealloc(small, huge, 0, PAGE + 1);	/* a 2 MiB zero entry */
	EQ(count(DAX_STAT_DOWNGRADE), 1);
	tear_down();
	set_up();
	check_prealloc(small, huge, 'b', PAGE + 1);	/* a 2 MiB block */
	EQ(place(PAGE).order, DAX_PMD_ORDER);
	tear_down();
	set_up();
	check_prealloc(huge, other, 'b', PAGE + 1);	/* A wanted 2 MiB itself */
	EQ(place(PAGE).order, 0);
	tear_down();
}

/* Elsewhere in the tree, so that the root is not what they race for. */
static void insert_during_prealloc_with_root(void)
{
	set_up();
	EQ(load(small, 0, 0), 0);
	check_prealloc(small, huge, 'b', PAGE + 1);
	tear_down();
}

/* ---- write(2) against a fault ------------------------------------------------------------------- */

/* The fault has been told "hole"; write(2) gets a block, finds the entry
 * locked and waits; the zero page that the fault maps must not stay. */
static void stale_read(struct dax_vma **vma)
{
	struct access reader, writer = at(NULL, PAGE, 7, 'w');

	set_up();
	reader = at(*vma, PAGE, 7, 0);
	begin(&reader, DAX_TEST_AFTER_IOMAP);
	begin_asleep(&writer);
	finish(&reader);
	CHECK(reader.got == 0 || reader.got == 'w');
	join(&writer);
	EQ(load(*vma, PAGE, 7), 'w');
	EQ(load(other, PAGE, 7), 'w');
	tear_down();
}

static void stale_read_after_write(void)
{
	stale_read(&small);
}

static void stale_huge_read_after_write(void)
{
	stale_read(&huge);
}

/* Mapped before: the write takes it away; a fault that comes while the entry
 * is being removed waits and finds the block. */
static void read_during_invalidation(struct dax_vma **vma)
{
	struct access reader, writer = at(NULL, PAGE, 7, 'w');

	set_up();
	EQ(load(*vma, PAGE, 7), 0);
	reader = at(other, PAGE, 7, 0);
	begin(&writer, DAX_TEST_INVALIDATE_LOCKED);
	begin_asleep(&reader);
	finish(&writer);
	join(&reader);
	EQ(load(other, PAGE, 7), 'w');
	EQ(load(*vma, PAGE, 7), 'w');
	tear_down();
}

static void reader_during_invalidation(void)
{
	read_during_invalidation(&small);
}

static void reader_during_huge_invalidation(void)
{
	read_during_invalidation(&huge);
}

static bool locked_when_asked;

static void look_at_lock(void)
{
	if (!(word_at(PAGE) & DAX_LOCKED))
		locked_when_asked = false;
}

/* The rule itself: whoever asks the block map for a fault holds the entry. */
static void entry_locked_before_block_map(void)
{
	fx_open(PAGES);
	small = fx_vma(0, PAGES, RW_SHARED, DAX_PAGES_PTE);
	huge = fx_vma(0, PAGES, RW_SHARED, DAX_PAGES_AUTO);
	copies = fx_vma(0, PAGES, RW_PRIVATE, DAX_PAGES_PTE);
	fx.map.on_begin = look_at_lock;
	locked_when_asked = true;
	CHECK(dax_vma_fault(huge, PAGE, 0, NULL) == DAX_VM_FAULT_NOPAGE);
	CHECK(dax_vma_fault(small, PAGE, 0, NULL) == DAX_VM_FAULT_NOPAGE);
	CHECK(dax_vma_fault(copies, PAGE, 1, NULL) == DAX_VM_FAULT_DONE_COW);
	fx_answer(DAX_IOMAP_MAPPED, 0, 0);
	CHECK(dax_vma_fault(small, PAGE, 1, NULL) == DAX_VM_FAULT_NOPAGE);
	CHECK(locked_when_asked);
	fx.map.on_begin = NULL;
	dax_vma_put(copies);
	dax_vma_put(huge);
	dax_vma_put(small);
	fx_close();
}

/* ---- a zero leaf that no entry explains -------------------------------------------------------- */

/*
 * The kernel removed the entry first and the leaf second; a write fault in
 * between found no entry, made one, and met the zero leaf.  Here the leaf goes
 * under the entry's lock, so the write fault waits; it then finds neither.
 */
static void zero_leaf_without_entry(void)
{
	struct access invalidator = at(NULL, PAGE, 7, 'w'), writer;

	set_up();
	EQ(load(small, PAGE, 0), 0);
	EQ(load(copies, PAGE, 0), 0);
	begin(&invalidator, DAX_TEST_INVALIDATE_LOCKED);
	CHECK(word_at(PAGE) & DAX_LOCKED);
	writer = at(small, PAGE, 8, 'v');
	begin_asleep(&writer);
	finish(&invalidator);
	join(&writer);
	EQ(load(small, PAGE, 7), 'w');
	EQ(load(small, PAGE, 8), 'v');
	EQ(load(copies, PAGE, 8), 'v');
	CHECK(vma_soft_leaf(small, PAGE) & LEAF_WRITE);
	CHECK(is_dirty(PAGE));
	tear_down();
}

/* At no moment is there a zero leaf beside an unlocked entry with a block. */
static void check_leaf_and_entry(enum dax_test_point point)
{
	dax_entry_t entry = word_at(PAGE);

	(void)point;
	if (vma_soft_leaf(small, PAGE) >> DAX_PAGE_SHIFT == DAX_ZERO_PFN)
		CHECK(entry & DAX_LOCKED || entry & DAX_ZERO_PAGE);
}

static void leaf_and_entry_agree_at_every_point(void)
{
	set_up();
	dax_test.yield = check_leaf_and_entry;
	EQ(load(small, PAGE, 0), 0);
	EQ(dax_vma_write(other, "w", 1, PAGE << DAX_PAGE_SHIFT, NULL), 1);
	EQ(load(small, PAGE, 0), 'w');
	EQ(dax_mapping_punch_hole(fx.file, PAGE << DAX_PAGE_SHIFT, DAX_PAGE_SIZE), 0);
	EQ(load(small, PAGE, 0), 0);
	EQ(dax_mapping_pwrite(fx.file, "p", 1, PAGE << DAX_PAGE_SHIFT), 1);
	EQ(load(small, PAGE, 0), 'p');
	tear_down();
}

#define RUN(test) run(#test, test)

int main(void)
{
	plan(17);
	RUN(two_writers_of_one_hole);
	RUN(two_writers_of_a_huge_hole);
	RUN(two_writers_over_a_zero_page);
	RUN(entry_locks_do_not_nest);
	RUN(hole_after_block);
	RUN(block_before_hole);
	RUN(copy_of_hole_against_writer);
	RUN(huge_hole_after_block);
	RUN(insert_during_prealloc);
	RUN(insert_during_prealloc_with_root);
	RUN(stale_read_after_write);
	RUN(stale_huge_read_after_write);
	RUN(reader_during_invalidation);
	RUN(reader_during_huge_invalidation);
	RUN(entry_locked_before_block_map);
	RUN(zero_leaf_without_entry);
	RUN(leaf_and_entry_agree_at_every_point);
	return done();
}
