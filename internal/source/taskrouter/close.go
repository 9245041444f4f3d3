package taskrouter

import (
	"errors"
	"fmt"
	"time"

	"github.com/gorilla/websocket"
)

// closeCode is what a WebSocket close code (RFC 6455, section 7.4, and the IANA registry) means for the next attempt. Which ones the
// service uses, and for what, is not known (protocol, section 4.5): none is final, as in the vendor's own SDK. Codes that may not be on the wire,
// 1014 and 1015 among them, never get here: the WebSocket library takes their frames for a protocol error.
type closeCode struct {
	class  class
	reason string
}

var closeCodes = map[int]closeCode{
	websocket.CloseNormalClosure:           {again, "close_1000"},
	websocket.CloseGoingAway:               {again, "close_1001"},
	websocket.CloseProtocolError:           {again, "close_1002"},
	websocket.CloseUnsupportedData:         {again, "close_1003"},
	websocket.CloseNoStatusReceived:        {again, "close_1005"}, // a close frame without a code
	websocket.CloseAbnormalClosure:         {again, "close_1006"}, // the stream ended without a close frame
	websocket.CloseInvalidFramePayloadData: {again, "close_1007"},
	websocket.ClosePolicyViolation:         {again, "close_1008"},
	websocket.CloseMessageTooBig:           {again, "close_1009"},
	websocket.CloseMandatoryExtension:      {again, "close_1010"},
	websocket.CloseInternalServerErr:       {again, "close_1011"},
	websocket.CloseServiceRestart:          {again, "close_1012"},
	websocket.CloseTryAgainLater:           {later, "close_1013"},
}

func closeCodeOf(code int) closeCode {
	if c, ok := closeCodes[code]; ok {
		return c
	}
	if code >= 4000 && code <= 4999 { // private use: the vendor's own
		return closeCode{again, "close_4xxx"}
	}
	return closeCode{again, "close_other"}
}

// clockSlack is how far before the token's computed end a close already counts as its expiry: the vendor's figure was on its way for a while.
const clockSlack = time.Second

// readFailure classifies the end of a socket at the given time. expires is when the session's token dies.
func readFailure(err error, at, expires time.Time) *failure {
	err = fmt.Errorf("socket: %w", err)
	if errors.Is(err, websocket.ErrReadLimit) {
		return fail(again, "frame_too_big", err)
	}
	if !at.Before(expires.Add(-clockSlack)) {
		return fail(again, "token_expired", err)
	}
	var closed *websocket.CloseError
	if errors.As(err, &closed) {
		c := closeCodeOf(closed.Code)
		return fail(c.class, c.reason, err)
	}
	if reason, ok := networkReason(err); ok {
		return fail(again, reason, err)
	}
	return fail(again, "protocol_error", err) // what is left is the WebSocket library's: a frame against RFC 6455
}
