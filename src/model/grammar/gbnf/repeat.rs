//! Repetitions as rules, few of them however many times are asked for.

use super::{Parser, Symbol};

impl Parser<'_> {
    pub(super) fn repeat(&mut self, symbol: Symbol, least: u64, most: Option<u64>) -> Symbol {
        match (least, most) {
            (1, Some(1)) => symbol,
            (least, Some(most)) if least == most => self.exactly(symbol, least),
            (0, Some(most)) => self.at_most(symbol, most),
            (0, None) => {
                // Recursion on the left keeps the engine's work for each character the same, however long the text becomes.
                let all = self.grammar.rules.len();
                self.rule_of(vec![vec![Symbol::Rule(all), symbol], vec![]])
            }
            (1, None) => {
                let all = self.grammar.rules.len();
                self.rule_of(vec![vec![Symbol::Rule(all), symbol], vec![symbol]])
            }
            (least, most) => {
                let first = self.exactly(symbol, least);
                let more = self.repeat(symbol, 0, most.map(|most| most - least));
                self.rule_of(vec![vec![first, more]])
            }
        }
    }

    /// By doubling: the number of rules grows with the logarithm of `times`.
    fn exactly(&mut self, symbol: Symbol, times: u64) -> Symbol {
        if times == 1 {
            return symbol;
        }
        if let Some(known) = self.exactly.get(&(symbol, times)) {
            return *known;
        }
        let sequence = match times {
            0 => vec![],
            2 => vec![symbol, symbol],
            _ => {
                let pair = self.exactly(symbol, 2);
                let pairs = self.exactly(pair, times / 2);
                [pairs, symbol][..1 + (times % 2) as usize].to_vec()
            }
        };
        let rule = self.rule_of(vec![sequence]);
        self.exactly.insert((symbol, times), rule);
        rule
    }

    /// As pairs and perhaps one more, so that there is one way only to each number.
    fn at_most(&mut self, symbol: Symbol, times: u64) -> Symbol {
        if let Some(known) = self.at_most.get(&(symbol, times)) {
            return *known;
        }
        let alternatives = match times {
            0 => vec![vec![]],
            1 => vec![vec![symbol], vec![]],
            _ => {
                let pair = self.exactly(symbol, 2);
                let one = self.at_most(symbol, 1);
                let pairs = self.at_most(pair, (times - 1) / 2);
                let mut alternatives = vec![vec![pairs, one]];
                if times.is_multiple_of(2) {
                    alternatives.push(vec![self.exactly(pair, times / 2)]);
                }
                alternatives
            }
        };
        let rule = self.rule_of(alternatives);
        self.at_most.insert((symbol, times), rule);
        rule
    }
}
