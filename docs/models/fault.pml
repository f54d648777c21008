/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fault.pml -- entries, leaves and blocks: fault, pwrite, punch, truncate
 *
 * Two mappings of one file of PAGES pages (1: 4 KiB alone, 2: a PMD entry fits).
 * Each actor loads, stores, writes, punches or truncates once.  A data leaf
 * serves loads and stores alike: write protection is not modelled.
 */
#ifndef ACTORS
#define ACTORS	3
#endif
#ifndef PAGES
#define PAGES	1
#endif
#define VMAS	2

#include "entry_lock.pml"

/* ---- leaves ------------------------------------------------------------------- */

/* A word of a page table is ABSENT, TABLE, or a leaf: ZERO or DATA. */
#define TABLE	NODE
#define SIGBUS	255
#define is_huge(vma)	(pmd[vma] > TABLE)
#define pte_of(vma, page) pte[(vma) * PAGES + (page)]
#define leaf(vma, page)	(pmd[vma] == TABLE -> pte_of(vma, page) : pmd[vma])

byte pmd[VMAS];
byte pte[VMAS * PAGES];

inline zap(vma, slot)
{
	d_step {
		p = 0;
		do
		:: p < PAGES ->
			if
			:: in_entry(p, slot) -> pte_of(vma, p) = ABSENT
			:: else
			fi;
			p++
		:: else -> p = 0; break
		od;
		if
		:: is_huge(vma) -> pmd[vma] = ABSENT
		:: else
		fi
	}
}

/* One vma after the other. */
inline unmap_mapping_pages(slot)
{
	zap(0, slot);
	zap(1, slot)
}

/* -EBUSY is nobody's concern: the access looks again. */
inline insert_mixed(frame)
{
	d_step {
		if
		:: pmd[vma] == TABLE && pte_of(vma, index) == ABSENT ->
			pte_of(vma, index) = frame
		:: else
		fi
	}
}

/* ret: 1, there was no place. */
inline insert_pfn_pmd(frame)
{
	d_step {
		if
		:: pmd[vma] == ABSENT -> pmd[vma] = frame; ret = 0
		:: else -> ret = (pmd[vma] != frame)
		fi
	}
}

/* ---- the block map --------------------------------------------------------------- */

#define HOLE	0
#define SMALL	1		/* a block of 4 KiB */
#define RUN	2		/* one of an aligned run of 2 MiB */

byte block[PAGES];
byte size = PAGES;		/* i_size */
bit i_rwsem;			/* held exclusive */
byte inside;			/* holders of invalidate_lock, shared */
bit written[PAGES];		/* ghost: a store or write to it has returned */
bit stale_hole;			/* ghost: and a load saw the hole after it */

/* One page. */
inline iomap_begin()
{
	d_step {
		if
		:: write && block[index] == HOLE -> block[index] = SMALL
		:: else
		fi;
		iomap = block[index]
	}
}

/* 2 MiB; SMALL: the extent is too short. */
inline iomap_begin_pmd()
{
	d_step {
		if
		:: write && block[0] == HOLE && block[PAGES - 1] == HOLE ->
			block[0] = RUN; block[PAGES - 1] = RUN
		:: else
		fi;
		iomap = (block[0] == block[PAGES - 1] -> block[0] : SMALL)
	}
}

/* ---- fault.c ------------------------------------------------------------------------ */

/* The leaves of a hole first, with the entry locked, then the entry. */
inline insert_mapping_entry()
{
	if
	:: entry & ZERO && mutated(UNMAP_AFTER_REPLACE) ->
		dax_replace_entry(DATA);
		unmap_mapping_pages(at)
	:: entry & ZERO && !mutated(UNMAP_AFTER_REPLACE) ->
		unmap_mapping_pages(at);
		dax_replace_entry(DATA)
	:: entry & EMPTY -> dax_replace_entry(DATA)
	:: entry & DATA
	fi;
	dirty[at] = dirty[at] | write
}

inline load_hole()
{
	assert(!(entry & DATA));	/* block_lost() */
	dax_replace_entry(ZERO);
	insert_mixed(ZERO)
}

inline pte_fault_locked()
{
	if
	:: at == UPPER && is_huge(vma)	/* a PMD fault won */
	:: else ->
		if
		:: !mutated(ASK_BEFORE_LOCK) -> iomap_begin()
		:: else
		fi;
		if
		:: iomap == HOLE -> load_hole()
		:: else -> insert_mapping_entry(); insert_mixed(DATA)
		fi
	fi
}

inline iomap_pte_fault()
{
	if
	:: mutated(ASK_BEFORE_LOCK) -> iomap_begin()
	:: else
	fi;
	grab_mapping_entry(WANT_PTE);
	if
	:: ret == 0 -> pte_fault_locked(); put_locked_mapping_entry()
	:: else -> failed = 1
	fi
}

/* The leaf first: an entry whose leaf found no place would stand for nothing. */
inline pmd_load_hole()
{
	assert(!(entry & DATA));
	insert_pfn_pmd(ZERO);
	if
	:: ret -> fallback = 1
	:: else -> dax_replace_entry(ZERO)
	fi
}

inline pmd_fault_locked()
{
	if
	:: pmd[vma] == TABLE || (is_huge(vma) && !write)
	:: else -> iomap_begin_pmd();
		if
		:: iomap == HOLE && !write -> pmd_load_hole()
		:: iomap == RUN -> insert_mapping_entry(); insert_pfn_pmd(DATA)
		:: else -> fallback = 1
		fi
	fi
}

inline iomap_pmd_fault()
{
	asked = index; index = 0;
	grab_mapping_entry(WANT_PMD);
	if
	:: ret == 0 -> pmd_fault_locked(); put_locked_mapping_entry()
	:: else -> fallback = 1
	fi;
	index = asked; asked = 0
}

/* A huge leaf that is read-only; pte_alloc() comes next. */
inline split_huge_pmd()
{
	d_step {
		if
		:: pmd[vma] == ZERO -> pmd[vma] = ABSENT
		:: else
		fi
	}
}

inline pte_alloc()
{
	d_step {
		if
		:: pmd[vma] == ABSENT -> pmd[vma] = TABLE
		:: else
		fi
	}
}

inline fault_without_table()
{
	fallback = (size < PAGES || PAGES == 1);
	if
	:: !fallback -> iomap_pmd_fault()
	:: else
	fi;
	if
	:: fallback -> split_huge_pmd(); pte_alloc()
	:: else
	fi
}

/* fallback: there was a table when the leaf was looked for. */
inline handle_mm_fault()
{
	if
	:: !fallback -> fault_without_table()
	:: else
	fi;
	if
	:: fallback -> fallback = 0; iomap_pte_fault()
	:: else
	fi;
	iomap = 0
}

/* ---- who holds the file's locks ------------------------------------------------------- */

inline lock_shared() { inside++ }
inline unlock_shared() { inside-- }

/* vma_soft.c: the leaf is looked at until it serves, under invalidate_lock. */
inline access()
{
	d_step { lock_shared(); was_written = written[index] };
	do
	:: true ->
		d_step {
			word = (index < size && !failed -> leaf(vma, index) : SIGBUS);
			fallback = (pmd[vma] == TABLE);
			if
			:: word == DATA && write -> written[index] = 1
			:: word == ZERO && !write ->
				stale_hole = was_written; assert(!stale_hole)
			:: else
			fi
		};
		if
		:: word < ZERO || (word == ZERO && write) -> handle_mm_fault()
		:: else -> break
		fi
	od;
	atomic { unlock_shared(); was_written = 0; word = 0; failed = 0; fallback = 0 }
}

/* invalidate.c, invalidate_entry(): @fresh: only a dirty data entry may stay. */
inline invalidate_entry()
{
	lock_slot_if(is_entry(entry));
	if
	:: ret && entry & DATA && (!fresh || dirty[at]) -> put_locked_mapping_entry()
	:: ret && !(entry & DATA && (!fresh || dirty[at])) ->
		page = at;
		if
		:: mutated(UNMAP_AFTER_DELETE) ->
			dax_delete_locked_entry();
			unmap_mapping_pages(page)
		:: else ->
			unmap_mapping_pages(at);
			dax_delete_locked_entry()
		fi;
		page = 0
	:: !ret
	fi
}

/* rw.c, invalidate_stale(), and invalidate_pages_range() of one page. */
inline invalidate_stale()
{
	d_step { lock_shared(); asked = index };
	radix_tree_walk(WANT_PTE);
	if
	:: is_entry(entry) && !(!fresh && entry & DATA && !is_locked(entry)) ->
		index = first;
		invalidate_entry();
		index = asked
	:: else
	fi;
	d_step { asked = 0; unlock_shared() }
}

inline pwrite()
{
	fresh = (block[index] == HOLE);
	if
	:: mutated(INVALIDATE_BEFORE_BLOCK) -> invalidate_stale(); iomap_begin()
	:: else -> iomap_begin(); invalidate_stale()
	fi;
	d_step { fresh = 0; iomap = 0; written[index] = 1 }
}

/* invalidate.c, remove_mapping_pages(), with both locks exclusive: nobody sees
 * the order of its steps.  What stays of a dirty PMD entry is split. */
inline remove_page(gone)
{
	assert(nr_waiters == 0);
	if
	:: tree[UPPER] > NODE ->
		assert(!is_locked(tree[UPPER]));
		zap_all(UPPER);
		if
		:: dirty[UPPER] && PAGES > 1 ->
			tree[PAGES - 1 - (gone)] = DATA; dirty[PAGES - 1 - (gone)] = 1;
			tree[UPPER] = NODE
		:: else -> tree[UPPER] = ABSENT
		fi;
		dirty[UPPER] = 0
	:: else ->
		assert(!is_locked(tree[gone]));
		zap_all(gone);
		tree[gone] = ABSENT; dirty[gone] = 0;
		if
		:: tree[0] == ABSENT && tree[PAGES - 1] == ABSENT -> tree[UPPER] = ABSENT
		:: else
		fi
	fi;
	block[gone] = HOLE; written[gone] = 0
}

/* Inside a d_step. */
inline zap_all(slot)
{
	zap(0, slot);
	zap(1, slot)
}

inline punch()
{
	d_step { inside == 0 -> remove_page(index) }
}

/* To @index pages. */
inline truncate()
{
	d_step {
		inside == 0 ->
		page = size;
		do
		:: page > index -> page--; remove_page(page)
		:: else -> break
		od;
		page = 0; size = (index < size -> index : size)
	}
}

/* ---- the actors ------------------------------------------------------------------------ */

/* Operation times PAGES plus page; loads and stores through either vma. */
#define LOAD		0
#define STORE		2
#define PWRITE		4
#define PUNCH		5
#define TRUNCATE	6
/* HUGE_HOLE: a PMD hole that both mappings show; loads by the second, stores by the
 * first, and nobody punches or truncates. */
#ifndef HUGE_HOLE
#define HUGE_HOLE	0
#endif
#define NR_OPERATIONS	(HUGE_HOLE -> PUNCH : 7)

proctype actor(byte me; byte what)
{
	ACTOR_LOCALS;
	byte asked, page, iomap;
	bit vma, write, fresh, fallback, failed, was_written;

	d_step {
		index = what % PAGES; what = what / PAGES;
		write = (what >= STORE);
		vma = (what < PWRITE -> what % VMAS : 0)
	};
	if
	:: what < PWRITE -> access()
	:: else ->
		d_step { !i_rwsem -> i_rwsem = 1 };
		if
		:: what == PWRITE && index < size -> pwrite()
		:: what == PUNCH && index < size -> punch()
		:: what == TRUNCATE -> truncate()
		:: what != TRUNCATE && index >= size
		fi;
		i_rwsem = 0
	fi
}

/* Nothing yet, or a hole, or blocks, that both mappings show. */
inline start()
{
	if
	:: !HUGE_HOLE
	:: PAGES > 1 -> tree[UPPER] = ZERO; pmd[0] = ZERO; pmd[1] = ZERO
	:: PAGES > 1 && !HUGE_HOLE ->
		block[0] = RUN; block[PAGES - 1] = RUN;
		tree[UPPER] = DATA; pmd[0] = DATA; dirty[UPPER] = 1
	:: !HUGE_HOLE -> tree[UPPER] = NODE; tree[0] = ZERO;
		pmd[0] = TABLE; pmd[1] = TABLE; pte_of(0, 0) = ZERO; pte_of(1, 0) = ZERO
	fi
}

/* ---- what holds at every moment ---------------------------------------------------------- */

#define word_of(page)	(tree[UPPER] == NODE -> tree[page] : tree[UPPER])

/* A zero leaf beside a data entry: the hole was replaced before it was unmapped. */
#define zero_beside_data(vma, page) \
	(leaf(vma, page) == ZERO && word_of(page) & DATA)
/* A leaf without its entry; of a PMD hole it comes first, the entry locked. */
#define without_entry(vma, page) \
	((leaf(vma, page) == DATA && !(word_of(page) & DATA)) || \
	 (leaf(vma, page) == ZERO && !(word_of(page) & (ZERO | DATA | LOCKED))))
#define without_block(page) \
	(block[page] == HOLE && word_of(page) & DATA)

#define anywhere(bad) \
	(bad(0, 0) || bad(1, 0) || bad(0, PAGES - 1) || bad(1, PAGES - 1))

bit hole_replaced_before_unmapped, leaf_without_entry, entry_without_block;

active proctype monitor()
{
end:	if
	:: atomic { anywhere(zero_beside_data) -> hole_replaced_before_unmapped = 1;
		assert(!hole_replaced_before_unmapped) }
	:: atomic { anywhere(without_entry) -> leaf_without_entry = 1;
		assert(!leaf_without_entry) }
	:: atomic { without_block(0) || without_block(PAGES - 1) ->
		entry_without_block = 1; assert(!entry_without_block) }
	fi
}

/* With 2 MiB, stores go through the first mapping; which is which does not matter. */
#define possible(what) \
	((PAGES == 1 || (what) / PAGES != STORE + 1) && \
	 !(HUGE_HOLE && (what) / PAGES == LOAD))

/* Actors are alike: only their operations in rising order are told apart. */
init
{
	byte nr, what;

	atomic {
		start();
		do
		:: nr < ACTORS && possible(what) -> run actor(nr, what); nr++
		:: nr < ACTORS && what < NR_OPERATIONS * PAGES - 1 -> what++
		:: nr == ACTORS -> break
		od;
		nr = 0; what = 0
	};
	_nr_pr == 2;		/* all came to their end; the monitor does not */
	d_step {
		do
		:: nr < PAGES ->
			assert(empty(queue[nr]) && !is_locked(tree[nr]) && !owned[nr]);
			nr++
		:: else -> break
		od;
		assert(!is_locked(tree[UPPER]) && nr_waiters == 0)
	}
}
