//! The tokenizer as tantivy wants it: the same terms, pulled one by one.

use tantivy::tokenizer::{Token, TokenStream, Tokenizer};

/// Gives tantivy the terms of [`super::terms`]. Positions count terms; offsets are 0, since a term need not be a
/// piece of the text, so tantivy's snippets do not work over it.
#[derive(Clone, Debug, Default)]
pub struct CodeTokenizer {
    /// All terms of the latest text, one after the other.
    terms: String,
    /// Where each of them ends.
    ends: Vec<usize>,
}

/// The terms of one text.
#[derive(Debug)]
pub struct CodeTokenStream<'a> {
    tokenizer: &'a CodeTokenizer,
    next: usize,
    token: Token,
}

impl Tokenizer for CodeTokenizer {
    type TokenStream<'a> = CodeTokenStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Self::TokenStream<'a> {
        let Self { terms, ends } = self;
        terms.clear();
        ends.clear();
        super::terms(text, &mut |term| {
            terms.push_str(term);
            ends.push(terms.len());
        });
        CodeTokenStream { tokenizer: self, next: 0, token: Token::default() }
    }
}

impl TokenStream for CodeTokenStream<'_> {
    fn advance(&mut self) -> bool {
        let ends = &self.tokenizer.ends;
        let Some(&end) = ends.get(self.next) else {
            return false;
        };
        let start = if self.next == 0 { 0 } else { ends[self.next - 1] };
        self.token.text.clear();
        self.token.text.push_str(&self.tokenizer.terms[start..end]);
        self.token.position = self.next;
        self.next += 1;
        true
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}
