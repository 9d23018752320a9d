from small_language import model, synthetic_text, text, tokens, vocabulary

__all__ = ["model", "synthetic_text", "text", "tokens", "vocabulary"]
