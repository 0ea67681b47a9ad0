//! Stop words: the English words that say nothing about what a question asks for.

/// Whether a lower-case word, or the term made of it, is an English function word. For the analysis of questions:
/// the index leaves nothing out.
pub fn is_stop_word(word: &str) -> bool {
    matches!(
        word,
        "a" | "about" | "above" | "abov" | "after" | "again" | "all" | "also" | "am" | "an" | "and" | "any" | "ani"
            | "are" | "as" | "at" | "be" | "because" | "becaus" | "been" | "before" | "befor" | "being" | "between"
            | "both" | "but" | "by" | "can" | "could" | "did" | "do" | "does" | "doe" | "doing" | "down" | "during"
            | "dure" | "each" | "few" | "for" | "from" | "further" | "had" | "has" | "have" | "having" | "he" | "her"
            | "here" | "him" | "his" | "how" | "i" | "if" | "in" | "into" | "is" | "it" | "its" | "just" | "me"
            | "more" | "most" | "my" | "no" | "nor" | "not" | "of" | "off" | "on" | "once" | "onc" | "only" | "onli"
            | "or" | "other" | "our" | "out" | "over" | "own" | "same" | "she" | "should" | "so" | "some" | "such"
            | "than" | "that" | "the" | "their" | "them" | "then" | "there" | "these" | "they" | "this" | "those"
            | "through" | "to" | "too" | "under" | "until" | "up" | "very" | "veri" | "was" | "we" | "were" | "what"
            | "when" | "where" | "which" | "while" | "who" | "whom" | "why" | "whi" | "will" | "with" | "would"
            | "you" | "your"
            // What is left of "don't", "it's", "we'll", "they've".
            | "d" | "don" | "doesn" | "didn" | "isn" | "ll" | "m" | "re" | "s" | "t" | "ve" | "won"
    )
}
