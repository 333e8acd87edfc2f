// What can be chosen of a method: typed values with names, defaults and bounds, of each method's own.

import Inference
import Text

/// What can be chosen of a method: a value of each method's own type, with defaults.
package protocol MethodSettings: Hashable, Sendable {
    init()
    /// How people name each, and what it means.
    static var list: [MethodSetting<Self>] { get }
}

/// What a setting can be.
package protocol SettingValue: Hashable, Sendable {
    /// In words, such as “a number”.
    static var expected: String { get }
    /// With bounds, in words too: “a number above 0”.
    static func expected(_ bounds: String) -> String
    /// Reads what a person typed.
    init?(setting text: String)
    /// As it stands in results.
    var setting: JSON { get }
}

extension SettingValue {
    package static func expected(_ bounds: String) -> String { expected + " " + bounds }
}

extension Float: SettingValue {
    package static var expected: String { "a number" }
    package init?(setting text: String) {
        guard let number = Float(text), number.isFinite else { return nil }
        self = number
    }
    package var setting: JSON { .float(self) }
}

extension Int: SettingValue {
    package static var expected: String { "a whole number" }
    package init?(setting text: String) { self.init(text) }
    package var setting: JSON { .int(self) }
}

extension Bool: SettingValue {
    package static var expected: String { "yes or no" }
    package init?(setting text: String) {
        switch text.lowercased() {
        case "yes", "true", "on", "1": self = true
        case "no", "false", "off", "0": self = false
        default: return nil
        }
    }
    package var setting: JSON { .bool(self) }
}

extension String: SettingValue {
    package static var expected: String { "a text" }
    package init?(setting text: String) { self = text }
    package var setting: JSON { .string(self) }
}

extension Optional: SettingValue where Wrapped: SettingValue {
    package static var expected: String { Wrapped.expected + ", or none" }
    package static func expected(_ bounds: String) -> String { Wrapped.expected(bounds) + ", or none" }
    package init?(setting text: String) {
        if text.lowercased() == "none" {
            self = .none
        } else {
            guard let value = Wrapped(setting: text) else { return nil }
            self = .some(value)
        }
    }
    package var setting: JSON { map(\.setting) ?? .null }
}

/// One of several words.
package protocol SettingChoice: SettingValue, CaseIterable, RawRepresentable where RawValue == String {}

extension SettingChoice {
    package static var expected: String {
        let names = allCases.map(\.rawValue)
        return names.dropLast().joined(separator: ", ") + (names.count > 1 ? " or " : "")
            + names[names.count - 1]
    }
    package init?(setting text: String) { self.init(rawValue: text.lowercased()) }
    package var setting: JSON { .string(rawValue) }
}

/// One of a method's settings.
package struct MethodSetting<Settings: MethodSettings>: Sendable {
    package let name: String
    /// One line.
    package let help: String
    /// What its texts are, in words.
    package let expected: String
    fileprivate let read: @Sendable (String, inout Settings) -> Bool
    package let value: @Sendable (Settings) -> JSON

    /// - Parameter bounds: in which it must lie, and how sentences say that.
    package init<V: SettingValue>(
        _ name: String, _ path: WritableKeyPath<Settings, V> & Sendable, _ help: String,
        where bounds: (words: String, hold: @Sendable (V) -> Bool)? = nil
    ) {
        (self.name, self.help) = (name, help)
        expected = bounds.map { V.expected($0.words) } ?? V.expected
        let hold = bounds?.hold
        read = { text, settings in
            guard let value = V(setting: text), hold?(value) ?? true else { return false }
            settings[keyPath: path] = value
            return true
        }
        value = { $0[keyPath: path].setting }
    }

    /// A number of at least, and at most, something.
    package init<V: SettingValue & Comparable>(
        _ name: String, _ path: WritableKeyPath<Settings, V> & Sendable, _ help: String,
        _ range: ClosedRange<V>
    ) {
        self.init(
            name, path, help,
            where: ("from \(range.lowerBound) to \(range.upperBound)", { range.contains($0) }))
    }
}

/// A setting as people type it: `OWNER.SETTING=VALUE`. Names are in small letters; the value is as it was typed.
package struct TypedSetting: Sendable, Equatable {
    package let owner: String, name: String, value: String

    /// - Parameter form: what to give, for whoever gave something else: “METHOD.SETTING=VALUE, such as fem.k=1”.
    /// - Throws: `ExplainError` of kind `method`.
    package init(_ text: String, form: String) throws(ExplainError) {
        let sides = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        let names = sides[0].split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        guard sides.count == 2, names.count == 2, !(names + [sides[1]]).contains("") else {
            throw ExplainError(.method, "“\(shortened(text))” is no setting; give \(form).")
        }
        (owner, name, value) = (names[0].lowercased(), names[1].lowercased(), String(sides[1]))
    }
}

/// Of a method that has none.
package struct NoSettings: MethodSettings {
    package init() {}
    package static let list: [MethodSetting<NoSettings>] = []
}

extension MethodSettings {
    /// The defaults, but for what is given.
    /// - Parameter texts: by the names of settings.
    init(_ texts: [String: String], of method: String) throws {
        self.init()
        for (name, text) in texts.sorted(by: { $0.key < $1.key }) {
            guard let setting = Self.list.first(where: { $0.name == name }) else {
                let names = Self.list.map(\.name)
                throw ExplainError(
                    .method,
                    "The method \(method) has no setting “\(shortened(name))”; "
                        + (names.isEmpty ? "it has none." : "it has \(names.joined(separator: ", ")).")
                        + didYouMean(name, among: names))
            }
            guard setting.read(text, &self) else {
                throw ExplainError(
                    .method,
                    "The setting \(method).\(name) is “\(shortened(text))”; it must be \(setting.expected).")
            }
        }
    }

    /// All of them, as they stand in results.
    package var entries: [(String, JSON)] { Self.list.map { ($0.name, $0.value(self)) } }

    /// The names, values, meanings and helps of all, with their defaults.
    package static var table: [(name: String, value: JSON, expected: String, help: String)] {
        let defaults = Self()
        return list.map { ($0.name, $0.value(defaults), $0.expected, $0.help) }
    }
}

func didYouMean(_ name: String, among names: [String]) -> String {
    let near = nearMatches(name, among: names)
    return near.isEmpty ? "" : " Did you mean \(near.map { "“\($0)”" }.joined(separator: ", "))?"
}
